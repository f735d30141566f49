"""Weak-to-strong supervision on real text: the default problem."""

from aar.problems.weak_to_strong.problem import WeakToStrong

__all__ = ["WeakToStrong"]
