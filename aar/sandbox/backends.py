"""Selection of the sandbox backend for this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aar.errors import SandboxUnavailable, UsageError
from aar.sandbox.bubblewrap import BubblewrapBackend
from aar.sandbox.docker import DockerBackend
from aar.sandbox.incidents import IncidentSink
from aar.sandbox.protocol import Availability, SandboxBackend

BACKENDS = ("docker", "bubblewrap")
"""Backends in order of preference."""


async def list_availability() -> Mapping[str, Availability]:
    """Check every backend on this machine, in order of preference.

    The result names working backends, and the fix for each of the others.
    """
    backends = [get_backend(name) for name in BACKENDS]
    found = await asyncio.gather(*(backend.check() for backend in backends))
    for backend in backends:
        await backend.close()
    return dict(zip(BACKENDS, found, strict=True))


async def choose_backend(preference: str = "auto", on_incident: IncidentSink | None = None) -> SandboxBackend:
    """Choose a sandbox backend that works on this machine.

    Args:
        preference: ``docker``, ``bubblewrap``, or ``auto``: the first of the two that works here.
        on_incident: called with each incident: a thing stopped, refused or lost in any sandbox.

    Raises:
        SandboxUnavailable: it does not work here; names the missing part of each backend and the remedy.
        UsageError: there is no backend of that name.
    """
    names = BACKENDS if preference == "auto" else (preference,)
    missing, remedies = [], []
    for name in names:
        backend = get_backend(name, on_incident)
        found = await backend.check()
        if found.ok:
            return backend
        await backend.close()
        missing.append(f"{name}: {found.detail}")
        remedies.append(f"{name}: {found.remedy}")
    raise SandboxUnavailable(f"no sandbox works here ({'; '.join(missing)})", "; or ".join(remedies))


def get_backend(name: str, on_incident: IncidentSink | None = None) -> SandboxBackend:
    """Return the backend of that name, available or not. Raises UsageError."""
    if name == "docker":
        return DockerBackend(on_incident=on_incident)
    if name == "bubblewrap":
        return BubblewrapBackend(on_incident=on_incident)
    raise UsageError(
        f"unknown sandbox backend: got {name!r}, expected auto, {', '.join(BACKENDS)}", "choose one of these"
    )
