"""Images for Docker sandboxes: recipes, the builder, and the scan for hidden data."""

from aar.sandbox.docker.image_tags import Kind, default_tag
from aar.sandbox.images.build import BuiltImage, build_image

__all__ = ["BuiltImage", "Kind", "build_image", "default_tag"]
