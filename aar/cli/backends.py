"""The sandbox backends that the command line can look at, in the order that ``auto`` prefers them."""

from __future__ import annotations

from aar.errors import UsageError
from aar.sandbox.bubblewrap.backend import BubblewrapBackend
from aar.sandbox.docker.backend import DockerBackend
from aar.sandbox.protocol import SandboxBackend


def backends() -> list[SandboxBackend]:
    """Fresh backends; the caller closes them."""
    return [DockerBackend(), BubblewrapBackend()]


def backend(name: str) -> SandboxBackend:
    """The backend of that name. Raises UsageError."""
    for each in backends():
        if each.name == name:
            return each
    raise UsageError(f"no sandbox backend {name}", "There are: docker, bubblewrap")
