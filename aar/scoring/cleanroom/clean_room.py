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
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from anyio import CancelScope, CapacityLimiter
from anyio.abc import TaskGroup

from aar.concurrency import unwrap_exception_group
from aar.errors import AarError, SandboxError, TransferRefused
from aar.problems.protocol import Problem, Task, TaskScore
from aar.sandbox.incidents import BackendOutageMonitor, IncidentSink, report_left_behind
from aar.sandbox.leases import Leases
from aar.sandbox.protocol import WORKSPACE, ExecResult, Sandbox, SandboxBackend
from aar.sandbox.state_dir import runtime_root
from aar.scoring.cleanroom import run_sandbox
from aar.scoring.cleanroom.run_sandbox import RunSandbox, RunSandboxFactory
from aar.scoring.results.verdict_messages import (
    OUTPUT_MISSING,
    RunFailure,
    failure_message,
    output_refused_message,
)
from aar.settings import get_settings
from aar.snapshots.store import SnapshotStore

log = structlog.get_logger(__name__)

OUTPUT_PATH = f"{WORKSPACE}/out.npy"
"""The path given as ``--out``; its suffix prevents ``numpy.save`` from adding one."""
DEFAULT_OWNER = "cleanroom"
_PRINTED_BYTES = 16 * 1024
_READ_SECONDS = 60.0
_CHECK_SECONDS = 60.0
_ANSWER_SECONDS = 5.0
_PACKAGE = Path(str(resources.files("aar")))


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The outcome of one execution.

    Args:
        failure: the kind of failure; None with an output file to score.
        verdict: for the researcher; empty without a failure.
        output: the output file on this machine, until ``discard``; None without one.
        output_digest: SHA-256 of the output file.
        seconds: wall-clock seconds of the method itself.
    """

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


@dataclass(frozen=True, slots=True)
class ScoringRunResult:
    """The result of one scoring run.

    Args:
        score: the parts that the problem measured; None when the run failed.
        failure, verdict: why it failed, for the researcher; None and empty when scored.
        output_digest: SHA-256 of the output file; None without one.
        seconds: wall-clock seconds of the method itself, of all attempts where sandboxes were lost under it.
        fault: the error in the problem's own code, for people; empty if there was none.
    """

    score: TaskScore | None
    failure: RunFailure | None
    verdict: str
    output_digest: str | None
    seconds: float
    fault: str = ""


class Stopwatch:
    """Measures the seconds that a method ran: its latest attempt, and all."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.begun = False
        self._before = 0.0

    @property
    def total(self) -> float:
        """Return the seconds of all attempts together."""
        return self._before + self.seconds

    @contextmanager
    def time_attempt(self) -> Iterator[None]:
        """Time an attempt, also one that is cancelled or loses its sandbox."""
        self._before, self.seconds, self.begun = self.total, 0.0, True
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds = time.monotonic() - started


class SandboxPool:
    """A pool of sandboxes that are ready for a run.

    A sandbox leaves the pool for one run and never comes back; a new one replaces it. An idle sandbox has a name, a
    folder and a lifetime like any other, so one left by a killed process is swept, or ends by itself.

    Args:
        owner: campaign id under which the sandboxes are found if this process dies.
        places: sets of cores that runs are given; ``((),)`` where they may run on any.
        ready: sandboxes to have ready in all, spread over the places.
    """

    def __init__(self, sandboxes: RunSandboxFactory, owner: str, places: Sequence[tuple[int, ...]], ready: int) -> None:
        self._sandboxes = sandboxes
        self._owner = owner
        self._each = math.ceil(ready / len(places))
        self._idle: dict[tuple[int, ...], deque[RunSandbox]] = {place: deque() for place in places}
        self._making: Counter[tuple[int, ...]] = Counter()
        self._makers = CapacityLimiter(ready)
        self._changed = anyio.Event()
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Fill the pool while the block lasts; at its end every sandbox is destroyed."""
        try:
            with unwrap_exception_group():
                async with anyio.create_task_group() as self._tasks:
                    self._tasks.start_soon(self._maintain)
                    yield
                    self._tasks.cancel_scope.cancel()
        finally:
            self._tasks = None
            left = [box for idle in self._idle.values() for box in idle]
            for idle in self._idle.values():
                idle.clear()
            with CancelScope(shield=True):
                async with anyio.create_task_group() as destroying:
                    for box in left:
                        destroying.start_soon(self._sandboxes.destroy_sandbox, box)

    @property
    def ready(self) -> int:
        """Return the number of sandboxes that are ready."""
        return sum(map(len, self._idle.values()))

    async def acquire(self, cores: tuple[int, ...]) -> RunSandbox | None:
        """Return an unused sandbox on these cores; None if none is available.

        A sandbox that is being made counts as available.

        The caller destroys it with ``release``, on every path.
        """
        if cores not in self._idle:
            return None
        while True:
            while self._idle[cores]:
                box = self._idle[cores].popleft()
                self._fill_up(cores)
                if await self._usable(box):
                    return box
            if not self._making[cores]:
                return None
            await self._changed.wait()

    async def release(self, box: RunSandbox) -> None:
        """Destroy a sandbox after its run, in the background while the pool is open.

        Closing the pool waits for it.
        """
        if self._tasks is None:
            await self._sandboxes.destroy_sandbox(box)
        else:
            self._tasks.start_soon(self._sandboxes.destroy_sandbox, box)

    async def _maintain(self) -> None:
        while True:
            for cores, idle in self._idle.items():
                while idle and idle[0].expires_soon:
                    await self.release(idle.popleft())
                self._fill_up(cores)
            await anyio.sleep(_CHECK_SECONDS)
            await self._sandboxes.retry_removals()

    def _fill_up(self, cores: tuple[int, ...]) -> None:
        if self._tasks is None or self._tasks.cancel_scope.cancel_called:
            return
        for _ in range(self._each - len(self._idle[cores]) - self._making[cores]):
            self._making[cores] += 1
            self._tasks.start_soon(self._add, cores)

    async def _add(self, cores: tuple[int, ...]) -> None:
        try:
            async with self._makers:
                self._idle[cores].append(await self._sandboxes.create_sandbox(self._owner, cores))
        except (AarError, OSError) as error:
            # A run that needs a sandbox now makes one directly, with the same error.
            log.warning("no sandbox could be made ready for the next run", error=str(error))
        finally:
            self._making[cores] -= 1
            self._changed.set()
            self._changed = anyio.Event()

    async def _usable(self, box: RunSandbox) -> bool:
        try:
            with anyio.fail_after(_ANSWER_SECONDS):
                await box.sandbox.jobs()  # asks the sandbox's server; starts nothing
            usable = not box.expires_soon
        except Exception as error:  # noqa: BLE001 - another sandbox is made in any case
            log.info("a sandbox that was ready has ended; it is replaced", name=box.name, error=str(error))
            usable = False
        except BaseException:
            await self.release(box)
            raise
        if not usable:
            await self.release(box)
        return usable


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
        self._sandboxes = RunSandboxFactory(backend, problem, work_dir, on_incident)
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
            # Ready sandboxes cost nothing: slot and cores are held for the run alone.
            async with slot or nullcontext(), self._cores(owner) as cores, self._warm(pool, owner, cores) as box:
                return await self._execute(box, task, source, seed, nullcontext(), watch)
        async with self._cores(owner) as cores, self._fresh(owner, cores) as box:
            return await self._execute(box, task, source, seed, slot or nullcontext(), watch)

    @asynccontextmanager
    async def warm_sandboxes(self, owner: str, parallel: int) -> AsyncIterator[None]:
        """Provide warm sandboxes for runs under ``owner`` while the block lasts.

        At its end none is left.

        Idle ones hold no lease. Where none is ready, a run has one made, as without this.

        Args:
            parallel: runs at the same time; one sandbox more is made ready.
        """
        places = self._leases.scoring_core_sets(self._cores_wanted()) if self._leases is not None else [()]
        pool = SandboxPool(self._sandboxes, owner, places, parallel + 1)
        try:
            async with pool.open():
                self._pools[owner] = pool
                try:
                    yield
                finally:
                    del self._pools[owner]
        finally:
            await self._sandboxes.retry_removals(last=True)

    def count_ready(self, owner: str = DEFAULT_OWNER) -> int:
        """Return the number of warm sandboxes that are ready for a run."""
        pool = self._pools.get(owner)
        return 0 if pool is None else pool.ready

    async def probe(self, *, owner: str = DEFAULT_OWNER) -> None:
        """Make an idle sandbox and run a trivial command in it.

        Raises SandboxUnavailable or SandboxError if that fails.
        """
        async with self._fresh(owner, (), bare=True) as box:
            result = await box.sandbox.exec(["true"], timeout=_READ_SECONDS)
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
            for row in await self.backend.list(owner):
                if row.name.startswith(f"{owner}-run-"):
                    removing.start_soon(remove, row.name)
        left |= await anyio.to_thread.run_sync(run_sandbox.remove_leftover_runs, self.work_dir, frozenset(left))
        for name, why in left.items():
            report_left_behind(self.on_incident, name, owner, why)

    async def _execute(
        self,
        box: RunSandbox,
        task: Task,
        source: str | Path,
        seed: int,
        slot: AbstractAsyncContextManager[object],
        watch: Stopwatch,
    ) -> RunOutcome:
        limits, sandbox = self.problem.run_limits, box.sandbox
        await anyio.to_thread.run_sync(run_sandbox.fill_run_folder, box.folder, task.public, source, self.snapshots)
        command = ["python", "run.py", "--data", "/data", "--seed", str(seed), "--out", OUTPUT_PATH]
        async with slot:
            with watch.time_attempt():
                result = await sandbox.exec(command, timeout=limits.seconds, cwd="/method", output_limit=_PRINTED_BYTES)
            watch.seconds = result.seconds
        failure = failure_message(result, limits, self._host_paths(task, source))
        return await self._collect(sandbox, result) if failure is None else _failed(failure, result)

    @asynccontextmanager
    async def _fresh(self, owner: str, cores: tuple[int, ...], *, bare: bool = False) -> AsyncIterator[RunSandbox]:
        box = await self._sandboxes.create_sandbox(owner, cores, bare=bare)
        try:
            yield box
        finally:
            await self._sandboxes.destroy_sandbox(box)

    @asynccontextmanager
    async def _warm(self, pool: SandboxPool, owner: str, cores: tuple[int, ...]) -> AsyncIterator[RunSandbox]:
        box = await pool.acquire(cores) or await self._sandboxes.create_sandbox(owner, cores)
        try:
            yield box
        finally:
            await pool.release(box)

    def _cores_wanted(self) -> int:
        return math.ceil(self.problem.run_limits.cpus)

    @asynccontextmanager
    async def _cores(self, owner: str) -> AsyncIterator[tuple[int, ...]]:
        if self._leases is None:
            yield ()
            return
        async with self._leases.lease_for_scoring(cores=self._cores_wanted(), owner=owner) as lease:
            yield lease.cores

    def _host_paths(self, task: Task, source: str | Path) -> list[Path]:
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
            return _failed(OUTPUT_MISSING, result)
        except (OSError, TransferRefused):  # TimeoutError is an OSError
            return _failed(output_refused_message(limits), result)
        path = await anyio.to_thread.run_sync(run_sandbox.store_output, content, self.work_dir)
        return RunOutcome(None, "", path, hashlib.sha256(content).hexdigest(), result.seconds)


def _failed(failure: tuple[RunFailure, str], result: ExecResult) -> RunOutcome:
    return RunOutcome(*failure, None, None, result.seconds)
