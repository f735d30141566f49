"""What happened in a sandbox reaches the record of its campaign."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from aar.errors import SandboxGone, TransferRefused
from aar.sandbox.incidents import Incident, IncidentKind
from aar.sandbox.protocol import ExitReason, SandboxBackend, SandboxSpec

_IMPOSTORS = """
import socket, time
print("begun", flush=True)
while True:
    s = socket.socket(1)
    s.setblocking(False)
    s.connect_ex("/run/aar/sock")
    s.close()
"""


def test_attempts_are_visible(each_backend: Callable[[], SandboxBackend], tmp_path: Path) -> None:
    seen: list[Incident] = []

    async def whole() -> None:
        backend = type(each_backend())(on_incident=seen.append)  # type: ignore[call-arg] - both shipped backends do
        spec = SandboxSpec("box", "camp", tmp_path / "w", memory_bytes=1 << 27, workspace_bytes=1 << 24)
        box = await backend.create(spec)
        try:
            await box.exec(["python3", "-c", "x = bytearray(1 << 30)"], timeout=60)
            await box.exec("sleep 100", timeout=0.2)
            await box.exec("mkdir d; ln -s / d/root", timeout=20)
            with pytest.raises(TransferRefused):
                await box.get("d", tmp_path / "out")
            await box._host.kill()  # type: ignore[attr-defined] - as from outside
            with pytest.raises(SandboxGone):
                await box.exec("true", timeout=5)
        finally:
            await backend.remove("box")
            await backend.close()

    asyncio.run(whole())
    kinds = [incident.kind for incident in seen]
    expected = [ExitReason.OUT_OF_MEMORY, ExitReason.TIME_LIMIT]
    assert kinds == [*expected, IncidentKind.REFUSED, IncidentKind.GONE]
    assert {(incident.sandbox, incident.campaign_id) for incident in seen} == {("box", "camp")}


def test_who_connects_without_end_reaches_nobody_and_keeps_no_new_controller_out(
    each_backend: Callable[[], SandboxBackend], tmp_path: Path
) -> None:
    seen: list[Incident] = []

    async def whole() -> None:
        spec = SandboxSpec("box", "camp", tmp_path / "w", memory_bytes=1 << 27, workspace_bytes=1 << 24)
        former = each_backend()
        next_one = type(former)(on_incident=seen.append)  # type: ignore[call-arg] - both shipped backends do
        box = await former.create(spec)
        try:
            await box.write("loop.py", _IMPOSTORS.encode())
            for _ in range(2):
                job = await box.start_job("exec python3 loop.py", timeout=60)
                while "begun" not in await box.job_output(job.job_id):
                    await box.wait_job(job.job_id, timeout=0.05)
            assert box._channel.strangers == 0  # type: ignore[attr-defined] - nobody listens any more
            await former.close()
            box = await next_one.attach(spec)
            assert [status.running for status in await box.jobs()] == [True, True]
            assert (await box.exec("echo $((6 * 7))", timeout=20)).output == "42\n"
        finally:
            await next_one.remove("box")
            await next_one.close()

    asyncio.run(whole())
    assert {incident.kind for incident in seen} <= {IncidentKind.IMPOSTOR}
