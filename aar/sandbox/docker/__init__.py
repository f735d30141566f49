"""Sandboxes that are containers of a Docker engine."""

from aar.sandbox.docker.backend import DockerBackend

__all__ = ["DockerBackend"]
