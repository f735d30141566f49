"""Images that Docker sandboxes run from: recipes, the builder, and the proof that no hidden data is inside."""

from aar.sandbox.images.build import Built, build
from aar.sandbox.images.tags import Kind, default_tag

__all__ = ["Built", "Kind", "build", "default_tag"]
