"""What happened in a sandbox reaches the record of its campaign."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from aar.errors import SandboxGone, TransferRefused
from aar.sandbox.incidents import Incident, IncidentKind
from aar.sandbox.protocol import SandboxBackend, SandboxSpec

_IMPOSTOR = "import socket; s = socket.socket(1); s.connect('/run/aar/sock'); print(s.recv(1))"


def test_attempts_are_visible(each_backend: Callable[[], SandboxBackend], tmp_path: Path) -> None:
    seen: list[Incident] = []

    async def whole() -> None:
        backend = type(each_backend())(on_incident=seen.append)  # type: ignore[call-arg] - both shipped backends do
        spec = SandboxSpec("box", "camp", tmp_path / "w", memory_bytes=1 << 27, workspace_bytes=1 << 24)
        box = await backend.create(spec)
        try:
            await box.exec(["python3", "-c", "x = bytearray(1 << 30)"], timeout=60)
            await box.exec("sleep 100", timeout=0.2)
            await box.exec(["python3", "-c", _IMPOSTOR], timeout=20)
            await box.exec("mkdir d; ln -s / d/root", timeout=20)
            with pytest.raises(TransferRefused):
                await box.get("d", tmp_path / "out")
            await box._body.kill()  # type: ignore[attr-defined] - as from outside
            with pytest.raises(SandboxGone):
                await box.exec("true", timeout=5)
        finally:
            await backend.remove("box")
            await backend.close()

    asyncio.run(whole())
    kinds = [incident.kind for incident in seen]
    expected = [IncidentKind.OUT_OF_MEMORY, IncidentKind.TIME_LIMIT, IncidentKind.IMPOSTOR]
    assert kinds == [*expected, IncidentKind.REFUSED, IncidentKind.GONE]
    assert {(incident.sandbox, incident.campaign_id) for incident in seen} == {("box", "camp")}
