"""After a crash nothing is lost that was wanted and nothing is left that was not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from aar.errors import SandboxGone
from aar.sandbox.choose import backend_named
from aar.sandbox.cleanup import Swept, sweep
from aar.sandbox.inventory import list_sandboxes
from aar.sandbox.protocol import SandboxBackend, SandboxSpec
from aar.sandbox.runtime import runtime_root, scope

_CONTROLLER = """
import asyncio, sys
from pathlib import Path
from aar.sandbox.choose import backend_named
from aar.sandbox.protocol import SandboxSpec
async def main():
    backend = backend_named(sys.argv[1])
    for name in sys.argv[3:]:
        spec = SandboxSpec(name=name, campaign_id=name[:4], workspace=Path(sys.argv[2]) / name, workspace_bytes=1 << 25)
        box = await backend.create(spec)
        await box.start_job('for i in 1 2 3; do echo $i; sleep 0.1; done; sleep 1000', timeout=2000)
    print('ready', flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


def crash(backend: str, folder: Path, *names: str) -> None:
    """Run a controller that makes sandboxes with a job each, and kill it."""
    command = [sys.executable, "-c", _CONTROLLER, backend, str(folder), *names]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == "ready\n"
        os.kill(controller.pid, signal.SIGKILL)


def all_but(*live: str) -> Callable[[str], Awaitable[bool]]:
    """Calls every campaign abandoned but these."""

    async def abandoned(campaign_id: str) -> bool:
        return campaign_id not in live

    return abandoned


def leftovers(folder: Path) -> list[str]:
    """Folders, control groups and mounts that belong to this home's sandboxes."""
    left = [str(p) for p in (runtime_root() / scope()).glob("*/*")]
    left += [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
    left += [str(p) for p in folder.rglob(".*.ext4")]
    return left


def test_jobs_of_a_killed_controller_run_on_and_strays_are_removed(
    each_backend: Callable[[], SandboxBackend], tmp_path: Path
) -> None:
    async def whole() -> None:
        backend = each_backend()
        crash(backend.name, tmp_path, "live-1", "dead-1", "dead-2")
        assert sorted(await backend.orphans()) == ["dead-1", "dead-2", "live-1"]
        assert await sweep([backend], all_but("live")) == Swept(["dead-1", "dead-2"])
        spec = SandboxSpec(name="live-1", campaign_id="live", workspace=tmp_path / "live-1", workspace_bytes=1 << 25)
        box = await backend.attach(spec)
        (job,) = await box.jobs()
        assert job.running
        assert (await box.job_output(job.job_id)).startswith("1\n")
        assert [row.name for row in await list_sandboxes() if row.running] == ["live-1"]
        await backend.close()
        again = backend_named(backend.name)
        assert await sweep([again], all_but()) == Swept(["live-1"])
        assert list(await again.orphans()) == []
        await again.close()

    asyncio.run(whole())
    assert leftovers(tmp_path) == []


def test_a_sandbox_that_died_with_its_engine_is_gone_and_swept(
    each_backend: Callable[[], SandboxBackend], tmp_path: Path
) -> None:
    """What a restart of the engine, or of the machine, leaves: processes dead, everything else still there."""

    async def whole() -> None:
        backend = each_backend()
        spec = SandboxSpec(name="box", campaign_id="c", workspace=tmp_path / "box", workspace_bytes=1 << 25)
        box = await backend.create(spec)
        await box.write("kept", b"kept")
        await box._body.kill()  # type: ignore[attr-defined] - as from outside
        with pytest.raises(SandboxGone):
            await box.exec("true", timeout=5)
        with pytest.raises(SandboxGone):
            await backend.attach(spec)
        assert list(await backend.orphans("c")) == ["box"]
        again = await backend.create(spec)
        assert await again.read("kept") == b"kept"
        await backend.close()
        second = backend_named(backend.name)
        assert await sweep([second], all_but()) == Swept(["box"])
        await second.close()

    asyncio.run(whole())
    assert leftovers(tmp_path) == []
    assert (tmp_path / "box" / "kept").read_bytes() == b"kept"


def test_an_abandoned_sandbox_ends_itself(tmp_path: Path, each_backend: Callable[[], SandboxBackend]) -> None:
    async def whole() -> None:
        kind = type(each_backend())
        backend = kind(abandoned_after=0.5)  # type: ignore[call-arg] - both shipped backends take it
        spec = SandboxSpec(name="left", campaign_id="c", workspace=tmp_path / "left", workspace_bytes=1 << 25)
        await backend.create(spec)
        await backend.close()
        for _ in range(200):
            rows = await list_sandboxes()
            if not any(row.running for row in rows):
                break
            await asyncio.sleep(0.05)
        assert not any(row.running for row in rows)
        again = backend_named(backend.name)
        assert await sweep([again], all_but()) == Swept(["left"])
        await again.close()

    asyncio.run(whole())
    assert leftovers(tmp_path) == []
