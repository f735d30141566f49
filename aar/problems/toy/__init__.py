"""The toy problem: a complete plug-in in milliseconds, for tests and to copy."""

from aar.problems.toy.problem import Toy

__all__ = ["Toy"]
