"""Sandboxes for single scoring runs: made with empty data and code, destroyed afterwards."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.lowlevel
import anyio.to_thread
import structlog
from anyio import CancelScope

from aar.errors import BackendAway
from aar.problems.protocol import Problem
from aar.sandbox.incidents import IncidentSink, report_left_behind
from aar.sandbox.protocol import Mount, Sandbox, SandboxBackend, SandboxSpec
from aar.scoring.cleanroom import run_files

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
            shown = await anyio.to_thread.run_sync(run_files.make_run_folder, folder)
            mounts = [] if bare else [*shown, Mount(self._problem.lab(), "/lab")]
            spec = self._spec(name, owner, run_files.workspace_folder(folder), mounts, cores)
            # Made to the end even when cancelled: a half-made sandbox cannot be destroyed.
            with CancelScope(shield=True):
                sandbox = made = await self._backend.create(spec)
            await anyio.lowlevel.checkpoint_if_cancelled()
            return RunSandbox(name, sandbox, folder, tuple(cores), time.monotonic())
        except BaseException:
            await self._end(name, owner, made, folder)
            raise

    async def destroy_sandbox(self, room: RunSandbox) -> None:
        """Destroy a sandbox and all that is left of it, even when cancelled.

        A sandbox that cannot be removed is an incident and a job for the next sweep, never an error.
        """
        await self._end(room.name, room.sandbox.spec.campaign_id, room.sandbox, room.folder)

    async def _end(self, name: str, owner: str, sandbox: Sandbox | None, folder: Path) -> None:
        with CancelScope(shield=True):
            try:
                if sandbox is not None:
                    await sandbox.destroy()
                else:
                    await self._backend.remove(name)
                # Only now: a sandbox that may still run needs its folder.
                await anyio.to_thread.run_sync(run_files.remove_run_folder, folder)
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
                await anyio.to_thread.run_sync(run_files.remove_run_folder, folder)
            except Exception as error:  # noqa: BLE001 - the next check, or the next sweep, tries again
                log.info("a room is still left behind", name=name, error=str(error))
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
