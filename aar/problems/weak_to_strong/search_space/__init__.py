"""The components from which an offline researcher composes weak-to-strong methods."""

from aar.problems.weak_to_strong.search_space.space import WeakToStrongSearchSpace

__all__ = ["WeakToStrongSearchSpace"]
