"""Images that Docker sandboxes run from: recipes, the builder, and the proof that no hidden data is inside."""

from aar.sandbox.docker.image_tags import Kind, default_tag
from aar.sandbox.images.build import BuiltImage, build_image

__all__ = ["BuiltImage", "Kind", "build_image", "default_tag"]
