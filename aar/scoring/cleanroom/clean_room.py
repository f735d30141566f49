"""The clean room: one execution of a frozen method in a fresh sandbox.

The sandbox serves this run alone and is destroyed after it, on every path, so a method finds no trace of an earlier
run and leaves none. Inside, the code is read-only at ``/method``, the task's public bundle at ``/data`` and the
problem's library at ``/lab``; the method's ``--out`` file is read through the sandbox, never through the host's
paths. Sandboxes are made when a run needs one, or in advance (``warm_sandboxes``): then ``/data`` and ``/method`` are
empty until the run, and filled from outside.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from aar.errors import SandboxError, TransferRefused
from aar.problems.protocol import Problem, Task
from aar.sandbox.incidents import BackendOutageMonitor, IncidentSink, report_left_behind
from aar.sandbox.leases import Leases
from aar.sandbox.protocol import WORKSPACE, ExecResult, Sandbox, SandboxBackend
from aar.sandbox.state_dir import runtime_root
from aar.scoring.cleanroom import run_files
from aar.scoring.cleanroom.run_meter import Stopwatch
from aar.scoring.cleanroom.run_sandbox import RunSandbox, RunSandboxFactory
from aar.scoring.cleanroom.sandbox_pool import SandboxPool
from aar.scoring.verdict_messages import RunFailure, failure_message, output_missing_message, output_refused_message
from aar.settings import get_settings
from aar.snapshots.store import SnapshotStore

log = structlog.get_logger(__name__)

OUTPUT_PATH = f"{WORKSPACE}/out.npy"
"""The path given as ``--out``; its suffix prevents ``numpy.save`` from adding one."""
DEFAULT_OWNER = "cleanroom"
_PRINTED_BYTES = 16 * 1024
_READ_SECONDS = 60.0
_PACKAGE = Path(str(resources.files("aar")))


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The outcome of one execution.

    Args:
        ok: whether there is an output file to score.
        failure: the kind of failure; None when ok.
        verdict: for the researcher; empty when ok.
        output: the output file on this machine, until ``discard``; None without one.
        output_digest: SHA-256 of the output file.
        seconds: wall-clock seconds of the method itself.
    """

    ok: bool
    failure: RunFailure | None
    verdict: str
    output: Path | None
    output_digest: str | None
    seconds: float

    def discard(self) -> None:
        """Remove the output file."""
        if self.output is not None:
            try:
                self.output.unlink(missing_ok=True)
            except OSError as error:  # the next sweep tries again; no score depends on it
                log.warning("an output file is left behind", path=str(self.output), error=str(error))


class CleanRoom:
    """Runs frozen methods, each time in a fresh sandbox.

    Args:
        backend: makes the sandboxes.
        problem: gives the limits of a run and the library at ``/lab``.
        snapshots: resolves digests; None where only directories are run.
        work_dir: for bundles, workspaces and temporary outputs; nothing else may use it.
        leases: give each run cores that no researcher uses; None runs it on any.
        on_incident: called when something of a run could not be removed.
        outages: waits while the backend is away; None waits for nothing.
    """

    def __init__(
        self,
        backend: SandboxBackend,
        problem: Problem,
        snapshots: SnapshotStore | None,
        work_dir: Path,
        leases: Leases | None = None,
        on_incident: IncidentSink | None = None,
        outages: BackendOutageMonitor | None = None,
    ) -> None:
        self.outages = outages or BackendOutageMonitor(0.0)
        self.backend = backend
        self.problem = problem
        self.work_dir = work_dir
        self.snapshots = snapshots
        self._leases = leases
        self._rooms = RunSandboxFactory(backend, problem, work_dir, on_incident)
        self.on_incident = on_incident
        self._pools: dict[str, SandboxPool] = {}

    async def run(
        self,
        task: Task,
        source: str | Path,
        seed: int,
        *,
        owner: str = DEFAULT_OWNER,
        slot: AbstractAsyncContextManager[object] | None = None,
        watch: Stopwatch | None = None,
    ) -> RunOutcome:
        """Run a method once on a task's public bundle.

        Args:
            source: digest of a snapshot, or a directory that does not change meanwhile.
            seed: given as ``--seed``.
            owner: campaign id under which the sandbox is found if this process dies.
            slot: held while the method itself runs; a sandbox that is not warm is made before, all are removed after.
            watch: times the method itself.

        Raises:
            SandboxUnavailable, SandboxError: the sandbox could not be made or was lost; the method is not to blame.
            NotFound: no snapshot of that digest.
        """
        watch = watch or Stopwatch()
        pool = self._pools.get(owner)
        if pool is not None:
            # Ready rooms cost nothing: slot and cores are held for the run alone.
            async with slot or nullcontext(), self._cores(owner) as cores, self._warm(pool, owner, cores) as room:
                return await self._execute(room, task, source, seed, nullcontext(), watch)
        async with self._cores(owner) as cores, self._fresh(owner, cores) as room:
            return await self._execute(room, task, source, seed, slot or nullcontext(), watch)

    @asynccontextmanager
    async def warm_sandboxes(self, owner: str, parallel: int) -> AsyncIterator[None]:
        """Provide warm sandboxes for runs under ``owner`` while the block lasts.

        At its end none is left.

        Idle ones hold no lease. Where none is ready, a run has one made, as without this.

        Args:
            parallel: runs at the same time; one sandbox more is made ready.
        """
        places = self._leases.scoring_core_sets(self._cores_wanted()) if self._leases is not None else [()]
        pool = SandboxPool(
            lambda cores: self._rooms.create_sandbox(owner, cores),
            self._rooms.destroy_sandbox,
            places,
            parallel + 1,
            self._rooms.retry_removals,
        )
        try:
            async with pool.open():
                self._pools[owner] = pool
                try:
                    yield
                finally:
                    del self._pools[owner]
        finally:
            await self._rooms.retry_removals(last=True)

    def count_ready(self, owner: str = DEFAULT_OWNER) -> int:
        """Return the number of warm sandboxes that are ready for a run."""
        pool = self._pools.get(owner)
        return 0 if pool is None else pool.ready

    async def probe(self, *, owner: str = DEFAULT_OWNER) -> None:
        """Make an idle sandbox and run a trivial command in it.

        Raises SandboxUnavailable or SandboxError if that fails.
        """
        async with self._fresh(owner, (), bare=True) as room:
            result = await room.sandbox.exec(["true"], timeout=_READ_SECONDS)
        if not result.ok:
            raise SandboxError(
                f"a trivial command failed in a fresh sandbox: {result.output[-200:]}", "Run `aar doctor`"
            )

    async def remove_leftovers(self, owner: str) -> None:
        """Remove sandboxes, bundles, workspaces and outputs that a former process left.

        The sandboxes are those of its runs under ``owner``.

        A sandbox that cannot be removed is an incident; the rest is removed all the same.

        Raises:
            SandboxUnavailable, SandboxError: the backend cannot list its sandboxes.
        """
        left: dict[str, Exception] = {}

        async def remove(name: str) -> None:
            try:
                await self.backend.remove(name)
            except Exception as error:  # noqa: BLE001 - one sandbox must not block the others
                left[name] = error

        # In parallel: a slow one delays neither the others nor the scoring that follows.
        async with anyio.create_task_group() as removing:
            for name in await self.backend.orphans(owner):
                if name.startswith(f"{owner}-run-"):
                    removing.start_soon(remove, name)
        left |= await anyio.to_thread.run_sync(run_files.remove_leftover_runs, self.work_dir, frozenset(left))
        for name, why in left.items():
            report_left_behind(self.on_incident, name, owner, why)

    async def _execute(
        self,
        room: RunSandbox,
        task: Task,
        source: str | Path,
        seed: int,
        slot: AbstractAsyncContextManager[object],
        watch: Stopwatch,
    ) -> RunOutcome:
        limits, sandbox = self.problem.run_limits, room.sandbox
        await anyio.to_thread.run_sync(run_files.fill_run_folder, room.folder, task.public, source, self.snapshots)
        command = ["python", "run.py", "--data", "/data", "--seed", str(seed), "--out", OUTPUT_PATH]
        async with slot:
            with watch.time_attempt():
                result = await sandbox.exec(command, timeout=limits.seconds, cwd="/method", output_limit=_PRINTED_BYTES)
            watch.seconds = result.seconds
        bad = failure_message(result, limits, self._hosts(task, source))
        if bad is not None:
            return _failed(bad, result)
        return await self._collect(sandbox, result)

    @asynccontextmanager
    async def _fresh(self, owner: str, cores: tuple[int, ...], *, bare: bool = False) -> AsyncIterator[RunSandbox]:
        room = await self._rooms.create_sandbox(owner, cores, bare=bare)
        try:
            yield room
        finally:
            await self._rooms.destroy_sandbox(room)

    @asynccontextmanager
    async def _warm(self, pool: SandboxPool, owner: str, cores: tuple[int, ...]) -> AsyncIterator[RunSandbox]:
        room = await pool.acquire(cores) or await self._rooms.create_sandbox(owner, cores)
        try:
            yield room
        finally:
            await pool.release(room)

    def _cores_wanted(self) -> int:
        return math.ceil(self.problem.run_limits.cpus)

    @asynccontextmanager
    async def _cores(self, owner: str) -> AsyncIterator[tuple[int, ...]]:
        if self._leases is None:
            yield ()
            return
        async with self._leases.lease_for_scoring(cores=self._cores_wanted(), owner=owner) as lease:
            yield lease.cores

    def _hosts(self, task: Task, source: str | Path) -> list[Path]:
        own = [_PACKAGE, Path(sys.prefix), Path.home(), get_settings().home.absolute(), runtime_root()]
        hosts = [self.work_dir, task.public.parent, self.problem.lab(), *own]
        if isinstance(source, Path):
            hosts.append(source)
        # Files under /usr have the same path inside.
        return [host for host in hosts if not host.is_relative_to("/usr")]

    async def _collect(self, sandbox: Sandbox, result: ExecResult) -> RunOutcome:
        limits = self.problem.run_limits
        try:
            # A pipe at the path would block a reader for ever.
            with anyio.fail_after(_READ_SECONDS):
                content = await sandbox.read(OUTPUT_PATH, limit=limits.output_bytes)
        except FileNotFoundError:
            return _failed(output_missing_message(), result)
        except (OSError, TransferRefused):  # TimeoutError is an OSError
            return _failed(output_refused_message(limits), result)
        path = await anyio.to_thread.run_sync(run_files.store_output, content, self.work_dir)
        return RunOutcome(True, None, "", path, hashlib.sha256(content).hexdigest(), result.seconds)


def _failed(bad: tuple[RunFailure, str], result: ExecResult) -> RunOutcome:
    return RunOutcome(False, bad[0], bad[1], None, None, result.seconds)
