"""Files and sandboxes of single scoring runs: made before a run, destroyed after it.

A sandbox is made with empty places for data and code. A task's bundles are prepared for one use; while they exist, no
other user can open them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio.lowlevel
import anyio.to_thread
import structlog
from anyio import CancelScope, CapacityLimiter

from aar.concurrency import best_effort, log_failure
from aar.errors import BackendAway, PluginFailed, SandboxError
from aar.fsutil import remove_tree
from aar.problems.plugin_calls import PROCESSES, call_plugin
from aar.problems.protocol import Problem, Stage, Task
from aar.sandbox import workspaces
from aar.sandbox.incidents import IncidentSink, report_left_behind
from aar.sandbox.protocol import Mount, Sandbox, SandboxBackend, SandboxSpec
from aar.snapshots.store import SnapshotStore
from aar.workers.worker_pool import WorkerPool

log = structlog.get_logger(__name__)

IDLE_SECONDS = 600.0
"""Greatest age of a sandbox when its run starts, in seconds."""
_LIFETIME_MARGIN_SECONDS = 120.0
_WORKSPACE_BYTES = 1024**3


@dataclass(frozen=True, slots=True)
class RunSandbox:
    """A running sandbox that nothing has used yet.

    Args:
        folder: on this machine; its folders ``data`` and ``method`` are shown inside, read-only, and empty at first.
        cores: host cores that it runs on; empty means any.
        made: ``time.monotonic()`` when it was ready.
    """

    name: str
    sandbox: Sandbox
    folder: Path
    cores: tuple[int, ...]
    made: float

    @property
    def expires_soon(self) -> bool:
        """Return True if its lifetime may end before a run's time limit."""
        return time.monotonic() - self.made > IDLE_SECONDS


class RunSandboxFactory:
    """Makes and destroys the sandboxes of scoring runs.

    Args:
        backend: makes the sandboxes.
        problem: gives the limits of a run and the library at ``/lab``.
        work_dir: where sandboxes have their folders.
        on_incident: called when something of a sandbox could not be removed.
    """

    def __init__(
        self, backend: SandboxBackend, problem: Problem, work_dir: Path, on_incident: IncidentSink | None = None
    ) -> None:
        self._backend = backend
        self._problem = problem
        self._folder = work_dir / "runs"
        self._on_incident = on_incident
        self._left: dict[str, tuple[str, Path]] = {}

    async def create_sandbox(self, owner: str, cores: Sequence[int] = (), *, bare: bool = False) -> RunSandbox:
        """Make a sandbox; if cancelled or failing, remove all of it.

        Args:
            owner: campaign id under which the sandbox is found if this process dies.
            cores: host cores to run on; empty means any.
            bare: without any place for data, code or library.

        Raises:
            SandboxUnavailable, SandboxError: the sandbox could not be made.
        """
        name = f"{owner}-run-{secrets.token_hex(4)}"
        folder = self._folder / name
        made: Sandbox | None = None
        try:
            places = await anyio.to_thread.run_sync(make_run_folder, folder)
            mounts = [] if bare else [*places, Mount(self._problem.lab(), "/lab")]
            spec = self._spec(name, owner, workspace_folder(folder), mounts, cores)
            # Made to the end even when cancelled: a half-made sandbox cannot be destroyed.
            with CancelScope(shield=True):
                sandbox = made = await self._backend.create(spec)
            await anyio.lowlevel.checkpoint_if_cancelled()
            return RunSandbox(name, sandbox, folder, tuple(cores), time.monotonic())
        except BaseException:
            await self._end(name, owner, made, folder)
            raise

    async def destroy_sandbox(self, box: RunSandbox) -> None:
        """Destroy a sandbox and all that is left of it, even when cancelled.

        A sandbox that cannot be removed is an incident and a job for the next sweep, never an error.
        """
        await self._end(box.name, box.sandbox.spec.campaign_id, box.sandbox, box.folder)

    async def _end(self, name: str, owner: str, sandbox: Sandbox | None, folder: Path) -> None:
        with CancelScope(shield=True):
            try:
                if sandbox is not None:
                    await sandbox.destroy()
                else:
                    await self._backend.remove(name)
                # Only now: a sandbox that may still run needs its folder.
                await anyio.to_thread.run_sync(remove_run_folder, folder)
            except Exception as error:  # noqa: BLE001 - the scorer goes on after any failure to remove
                self._left[name] = (owner, folder)
                # An outage is reported as such, and each try to make a sandbox during it leaves a folder.
                if sandbox is not None or not isinstance(error, BackendAway):
                    report_left_behind(self._on_incident, name, owner, error)

    async def retry_removals(self, *, last: bool = False) -> None:
        """Remove what could not be removed before; never raises.

        An example is a sandbox whose engine was away.

        Args:
            last: whether this is the last try before the next sweep; what stays is then an incident.
        """

        async def again(name: str, owner: str, folder: Path) -> None:
            try:
                await self._backend.remove(name)
                await anyio.to_thread.run_sync(remove_run_folder, folder)
            except Exception as error:  # noqa: BLE001 - the next check, or the next sweep, tries again
                log.info("a sandbox is still left behind", name=name, error=str(error))
                if last:
                    report_left_behind(self._on_incident, name, owner, error)
            else:
                self._left.pop(name, None)

        with CancelScope(shield=True):
            async with anyio.create_task_group() as trying:
                for name, (owner, folder) in list(self._left.items()):
                    trying.start_soon(again, name, owner, folder)

    def _spec(
        self, name: str, owner: str, workspace: Path, mounts: Sequence[Mount], cores: Sequence[int]
    ) -> SandboxSpec:
        limits = self._problem.run_limits
        threads = str(max(1, int(limits.cpus)))
        return SandboxSpec(
            name=name,
            campaign_id=owner,
            workspace=workspace,
            mounts=mounts,
            env={
                "PYTHONPATH": "/lab",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONHASHSEED": "0",
                "OMP_NUM_THREADS": threads,
                "OPENBLAS_NUM_THREADS": threads,
            },
            memory_bytes=limits.memory_bytes,
            workspace_bytes=_WORKSPACE_BYTES,
            cpus=limits.cpus,
            lifetime_seconds=limits.seconds + IDLE_SECONDS + _LIFETIME_MARGIN_SECONDS,
            cores=cores,
            keep_workspace=False,
        )


def make_run_folder(folder: Path) -> list[Mount]:
    """Make a run's folder with empty places for data and code; returns their mounts.

    Args:
        folder: must not exist; a sandbox's user can pass through it and not list it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir()
    folder.chmod(0o711)
    for place in (folder / "data", folder / "method"):
        place.mkdir()
        place.chmod(0o755)
    return [Mount(folder / "data", "/data"), Mount(folder / "method", "/method")]


def fill_run_folder(folder: Path, public: Path, source: str | Path, snapshots: SnapshotStore | None) -> None:
    """Copy a task's public bundle and a method's code into a run's folder.

    The sandbox shows these folders already.

    Files are hard links where the file system allows it, else copies.

    Args:
        folder: as ``make_run_folder`` made it.
        source: digest of a snapshot, or a directory to show as it is.

    Raises:
        NotFound: no snapshot of that digest.
    """
    data, method = folder / "data", folder / "method"
    shutil.copytree(public, data, symlinks=True, copy_function=_link_or_copy, dirs_exist_ok=True)
    for path in data.rglob("*"):
        # Times would show a method which file an audit has written again.
        os.utime(path, (0, 0), follow_symlinks=False)
    if isinstance(source, Path):
        shutil.copytree(source, method, symlinks=True, copy_function=_link_or_copy, dirs_exist_ok=True)
    elif snapshots is None:
        raise SandboxError("this clean room has no snapshot store", "Give it one, or a directory to run")
    else:
        code = folder / "code"
        snapshots.materialise(source, code)
        make_readable(code)
        # The folder itself must stay: it is the one that is mounted.
        for entry in list(code.iterdir()):
            entry.rename(method / entry.name)
    # Byte code in a method would run instead of the source that was audited.
    for cached in list(method.rglob("__pycache__")):
        if cached.is_dir() and not cached.is_symlink():
            remove_tree(cached)
        else:
            cached.unlink(missing_ok=True)


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def store_output(content: bytes, work_dir: Path) -> Path:
    """Store an output in a file that only the controller reads; returns the file."""
    outputs = work_dir / "outputs"
    outputs.mkdir(parents=True, exist_ok=True)
    path = outputs / f"{secrets.token_hex(8)}.npy"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path


def workspace_folder(folder: Path) -> Path:
    """Return the path of a run's workspace in its folder."""
    return folder / "workspace"


def remove_run_folder(folder: Path) -> None:
    """Remove a run's folder with everything that a method left in it.

    Raises:
        SandboxError: something of it stays; nothing is removed while a file system is mounted in it.
    """
    if folder.exists():
        workspaces.discard(workspace_folder(folder))
        remove_tree(folder)


def remove_leftover_runs(work_dir: Path, keep: Collection[str] = ()) -> dict[str, Exception]:
    """Remove the runs that a killed process left in a work folder.

    Returns the reason for each folder that could not be removed, by name.

    Args:
        keep: runs whose sandbox may still run; their folders stay.
    """
    left: dict[str, Exception] = {}
    # A process killed while it made a sandbox may leave a mounted workspace that no backend knows.
    runs = work_dir / "runs"
    folders = [each for each in runs.iterdir() if each.name not in keep] if runs.is_dir() else []
    for folder in (*folders, work_dir / "bundles", work_dir / "outputs"):
        try:
            if folder.parent == runs:
                remove_run_folder(folder)
            else:
                remove_tree(folder)
        except Exception as error:  # noqa: BLE001 - one folder must not block the others
            left[folder.name] = error
    with suppress(OSError):  # it holds the files that stay
        runs.rmdir()
    return left


@asynccontextmanager
async def prepared_bundles(
    problem: Problem,
    work_dir: Path,
    *,
    domain: str,
    stage: Stage,
    split_seed: int,
    limiter: CapacityLimiter | None = None,
    pool: WorkerPool = PROCESSES,
) -> AsyncIterator[Task]:
    """Provide a task's bundles while the block lasts.

    The hidden bundle has mode 0700 and the folder around both is closed while they are written; the public one can
    be read by the unprivileged user of a sandbox.

    Args:
        work_dir: the folder of bundles is made here.
        limiter: bounds how many are prepared at once.
        pool: whose processes prepare them.

    Raises:
        DataMissing, PluginFailed: from the problem; PluginFailed too when a bundle lies elsewhere than it should.
    """
    folder = work_dir / "bundles" / secrets.token_hex(8)
    try:
        await anyio.to_thread.run_sync(_make, folder)
        task = await call_plugin(problem, "prepare", domain, stage, split_seed, folder, limiter=limiter, pool=pool)
        await anyio.to_thread.run_sync(_settle, problem, task, folder)
        yield task
    finally:
        with CancelScope(shield=True):
            # The next sweep removes the rest.
            await best_effort(anyio.to_thread.run_sync(remove_tree, folder), log_failure("a bundle is left behind"))


def make_readable(directory: Path) -> None:
    """Make a directory's regular files and folders readable for a sandbox's unprivileged user."""
    for path in (directory, *directory.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            path.chmod(stat.S_IMODE(mode) | 0o555)
        elif stat.S_ISREG(mode):
            path.chmod(stat.S_IMODE(mode) | 0o444)


def _make(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)


def _settle(problem: Problem, task: Task, folder: Path) -> None:
    places = folder / "public", folder / "hidden"
    if (task.public, task.hidden) != places or not all(each.is_dir() for each in places):
        raise PluginFailed(f"bundles of problem {problem.name} misplaced: expected into/public and into/hidden")
    task.hidden.chmod(0o700)
    make_readable(task.public)
    folder.chmod(0o711)
