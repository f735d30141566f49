"""Images that Docker sandboxes run from: recipes, the builder, and the proof that no hidden data is inside."""

from aar.sandbox.docker.image_tags import Kind, default_tag
from aar.sandbox.images.build import Built, build

__all__ = ["Built", "Kind", "build", "default_tag"]
