"""After a crash nothing is lost that was wanted and nothing is left that was not."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from aar.errors import SandboxGone
from aar.sandbox import state_dir
from aar.sandbox.inventory import SweepResult, get_backend, list_sandboxes, remove_abandoned_sandboxes
from aar.sandbox.protocol import SandboxBackend, SandboxSpec
from aar.sandbox.state_dir import home_scope, runtime_root

from .conftest import need

_CONTROLLER = """
import asyncio, sys
from pathlib import Path
from aar.sandbox.inventory import get_backend
from aar.sandbox.protocol import SandboxSpec
async def main():
    backend = get_backend(sys.argv[1])
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
    """Folders, control groups, mounts, loop devices and workspaces' images that belong to this home's sandboxes."""
    left = [str(p) for p in (runtime_root() / home_scope()).glob("*/*")]
    left += [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
    left += [str(p) for p in folder.rglob(".*.ext4")]
    # os.walk passes over folders that another test's sandbox removes in the midst of it; glob would raise.
    groups = (str(Path(above, name)) for above, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    left += [path for path in groups if f"{home_scope()}-" in Path(path).name]
    if losetup := shutil.which("losetup", path="/usr/sbin:/sbin"):
        listed = subprocess.run([losetup, "-n", "-O", "NAME,BACK-FILE"], capture_output=True, text=True, check=False)
        left += [line for line in listed.stdout.splitlines() if str(folder) in line]
    return left


def test_jobs_of_a_killed_controller_run_on_and_strays_are_removed(
    each_backend: Callable[[], SandboxBackend], tmp_path: Path
) -> None:
    async def whole() -> None:
        backend = each_backend()
        crash(backend.name, tmp_path, "live-1", "dead-1", "dead-2")
        assert [row.name for row in await backend.list()] == ["dead-1", "dead-2", "live-1"]
        assert await remove_abandoned_sandboxes([backend], all_but("live")) == SweepResult(["dead-1", "dead-2"])
        spec = SandboxSpec(name="live-1", campaign_id="live", workspace=tmp_path / "live-1", workspace_bytes=1 << 25)
        box = await backend.attach(spec)
        (job,) = await box.jobs()
        assert job.running
        assert (await box.job_output(job.job_id)).startswith("1\n")
        assert [row.name for row in await list_sandboxes() if row.running] == ["live-1"]
        await backend.close()
        again = get_backend(backend.name)
        assert await remove_abandoned_sandboxes([again], all_but()) == SweepResult(["live-1"])
        assert list(await again.list()) == []
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
        await box._host.kill()  # type: ignore[attr-defined] - as from outside
        with pytest.raises(SandboxGone):
            await box.exec("true", timeout=5)
        with pytest.raises(SandboxGone):
            await backend.attach(spec)
        assert [row.name for row in await backend.list("c")] == ["box"]
        again = await backend.create(spec)
        assert await again.read("kept") == b"kept"
        await backend.close()
        second = get_backend(backend.name)
        assert await remove_abandoned_sandboxes([second], all_but()) == SweepResult(["box"])
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
        again = get_backend(backend.name)
        assert await remove_abandoned_sandboxes([again], all_but()) == SweepResult(["left"])
        await again.close()

    asyncio.run(whole())
    assert leftovers(tmp_path) == []


_LIFE = Path(__file__).with_name("sandbox_until_killed.py")
_ORPHAN = """
import asyncio, os, signal, sys
from pathlib import Path
from aar.sandbox.bubblewrap import BubblewrapBackend
from aar.sandbox.bubblewrap.process import BubblewrapHostControl
from aar.sandbox.protocol import SandboxSpec
BubblewrapHostControl.record_first_process = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
spec = SandboxSpec("orphan", "gone", Path(sys.argv[1]), workspace_bytes=1 << 25, keep_workspace=False)
asyncio.run(BubblewrapBackend().create(spec))
"""


async def _swept(backend: SandboxBackend) -> SweepResult:
    try:
        return await remove_abandoned_sandboxes([backend], all_but())
    finally:
        await backend.close()


def _commands_of_children(of: str) -> list[str]:
    """Command lines of the processes that were started by one whose command line holds this text."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if of not in (entry / "cmdline").read_bytes().decode(errors="replace"):
                continue
            children = (entry / "task" / entry.name / "children").read_text().split()
            found += [Path(f"/proc/{each}/cmdline").read_bytes().decode(errors="replace") for each in children]
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_controller_killed_at_any_step_leaves_nothing_that_a_sweep_does_not_remove(
    each_backend: Callable[[], SandboxBackend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other steps are the business of longer runs: with ``AAR_EVERY_STEP=1``, each is tried."""
    monkeypatch.setattr(state_dir, "_FRESH_SECONDS", 0.0)
    backend = each_backend().name

    def life(step: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(_LIFE), backend, str(tmp_path / str(step)), f"gone-{step}", str(step)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole = life(0)
    steps = int(whole.stdout or 0)
    assert steps > 20, whole.stderr
    chosen = random.Random(f"{backend} {os.environ.get('PYTEST_XDIST_TESTRUNUID', '')}").sample(range(1, steps + 1), 8)
    every = os.environ.get("AAR_EVERY_STEP") == "1"
    for step in range(1, steps + 1) if every else chosen:
        killed = life(step)
        assert killed.returncode == -signal.SIGKILL or step > steps - 5, killed.stderr
        swept = asyncio.run(_swept(get_backend(backend)))
        assert swept.left == {}, step
        assert leftovers(tmp_path) == [], step


@pytest.mark.bubblewrap
def test_a_first_process_that_no_record_names_is_ended_with_what_it_holds(tmp_path: Path) -> None:
    """Its controller was killed right after it started bwrap; then it runs the server, which no argument tells of."""
    need("bubblewrap")
    killed = subprocess.run([sys.executable, "-c", _ORPHAN, str(tmp_path / "w")], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    deadline = time.monotonic() + 20
    while not any("server.main" in each for each in _commands_of_children(str(runtime_root() / home_scope()))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert asyncio.run(_swept(get_backend("bubblewrap"))) == SweepResult(["orphan"])
    assert leftovers(tmp_path) == []
    assert not _commands_of_children(str(runtime_root() / home_scope()))


def test_a_folder_that_tells_of_no_sandbox_is_removed_once_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runtime_root() / home_scope() / "b" / "0123456789abcdef"
    (folder / "channel").mkdir(parents=True)
    asyncio.run(remove_abandoned_sandboxes([], all_but()))
    assert folder.is_dir()  # somebody may be making it just now
    monkeypatch.setattr(state_dir, "_FRESH_SECONDS", 0.0)
    asyncio.run(remove_abandoned_sandboxes([], all_but()))
    assert leftovers(tmp_path) == []


def test_a_sandbox_that_does_not_read_keeps_nobody_who_ends_it(
    each_backend: Callable[[], SandboxBackend], tmp_path: Path
) -> None:
    """Stopped from outside, with more under way to it than a socket holds."""

    async def whole() -> None:
        backend = each_backend()
        spec = SandboxSpec(name="deaf", campaign_id="c", workspace=tmp_path / "deaf", workspace_bytes=1 << 25)
        box = await backend.create(spec)
        os.kill(box._host.first_process.pid, signal.SIGSTOP)  # type: ignore[attr-defined] - as nothing inside could
        writing = asyncio.create_task(box.write("big", bytes(8 << 20)))
        await asyncio.sleep(0.2)  # fills the socket; were it late, there would be less to wait for
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        async with asyncio.timeout(60):
            await box.destroy()
        await backend.close()

    asyncio.run(whole())
    assert leftovers(tmp_path) == []


_SCRATCH = """
import os, signal, sys
from aar.sandbox import workspaces
from aar.fsutil import temporary_folder
with temporary_folder('aar-test-') as folder:
    workspaces.prepare(folder / 'runs' / 'one' / 'workspace', 8 << 20, 12345 if os.getuid() == 0 else None)
    print(folder, flush=True)
    if sys.argv[1] == 'killed':
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def test_temporary_folders_of_killed_processes_are_swept_with_what_is_mounted_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", _SCRATCH, "lives"], **pipes) as lives:  # type: ignore[call-overload]
        kept = Path(lives.stdout.readline().strip())
        killed = subprocess.run([sys.executable, "-c", _SCRATCH, "killed"], capture_output=True, text=True, check=False)
        assert Path(killed.stdout.strip()).is_dir(), killed.stderr
        assert asyncio.run(remove_abandoned_sandboxes([], all_but())) == SweepResult()
        assert [path for path in tmp_path.iterdir() if path.name.startswith("aar-test")] == [kept]
        lives.kill()
    assert asyncio.run(remove_abandoned_sandboxes([], all_but())) == SweepResult()
    assert leftovers(tmp_path) == []
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("aar-test")]


_MEASURED = """
import asyncio, os, signal, sys
from aar.sandbox.inventory import get_backend
from aar.sandbox.protocol import SandboxSpec
from aar.fsutil import temporary_folder
with temporary_folder('aar-test-') as folder:
    spec = SandboxSpec('measured', 'nocampaign', folder / 'workspace', workspace_bytes=1 << 25, keep_workspace=False)
    asyncio.run(get_backend(sys.argv[1]).create(spec))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_sandboxes_in_a_killed_process_s_temporary_folder_are_nobody_s(
    each_backend: Callable[[], SandboxBackend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    backend = each_backend()
    killed = subprocess.run([sys.executable, "-c", _MEASURED, backend.name], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    async def whole() -> SweepResult:
        try:
            return await remove_abandoned_sandboxes([backend], all_but("nocampaign"))
        finally:
            await backend.close()

    assert asyncio.run(whole()) == SweepResult(["measured"])
    assert leftovers(tmp_path) == []
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("aar-test")]


@pytest.mark.anyio
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12])
async def test_a_sandbox_cancelled_while_it_is_made_leaves_no_mount(
    each_backend: Callable[[], SandboxBackend], tmp_path: Path, delay: float
) -> None:
    backend = each_backend()
    workspace = tmp_path / "workspace"
    making = asyncio.ensure_future(backend.create(SandboxSpec("cancelled", "threads", workspace)))
    await asyncio.sleep(delay)
    making.cancel()
    try:
        await making
    except asyncio.CancelledError:
        pass
    else:
        await backend.remove("cancelled")
    assert _left(workspace) == []
    assert await backend.list("threads") == []
    await backend.close()


def _left(workspace: Path) -> list[Path]:
    mounted = [workspace] if workspace.is_mount() else []
    return [*mounted, *workspace.parent.glob(".workspace*")]
