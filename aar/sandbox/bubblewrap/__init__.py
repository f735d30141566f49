"""Sandboxes made by bubblewrap: Linux namespaces without a daemon."""

from aar.sandbox.bubblewrap.backend import BubblewrapBackend

__all__ = ["BubblewrapBackend"]
