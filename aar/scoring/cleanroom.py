"""The clean room: one execution of a frozen method in a sandbox that nothing else ever used.

The sandbox is made for the run and destroyed after it, on every path, so a method finds no trace of an earlier run
and leaves none. Inside, the code is read-only at ``/method``, the task's public bundle at ``/data`` and the problem's
library at ``/lab``; what the method writes to ``--out`` is read through the sandbox, never through the host's paths.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from anyio import CancelScope

from aar.errors import SandboxError, TransferRefused
from aar.problems.protocol import Problem, Task
from aar.sandbox.leases import Leases
from aar.sandbox.protocol import WORKSPACE, ExecResult, Mount, Sandbox, SandboxBackend, SandboxSpec
from aar.sandbox.runtime import runtime_root
from aar.scoring import files
from aar.scoring.verdicts import Failure, no_output, refused_output, why_it_ended
from aar.settings import get_settings
from aar.snapshots.store import SnapshotStore

log = structlog.get_logger(__name__)

OUTPUT = f"{WORKSPACE}/out.npy"
"""Where ``--out`` points; the suffix keeps ``numpy.save`` from adding one."""
DEFAULT_OWNER = "cleanroom"
_PRINTED_BYTES = 16 * 1024
_READ_SECONDS = 60.0
_LIFETIME_MARGIN_SECONDS = 120.0
_WORKSPACE_BYTES = 1024**3
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How one execution ended.

    Args:
        ok: whether there is an output file to score.
        failure: the kind of failure; None when ok.
        verdict: for the researcher; empty when ok.
        output: the output file on this machine, until ``discard``; None without one.
        output_digest: SHA-256 of the output file.
        seconds: wall-clock seconds of the method itself.
    """

    ok: bool
    failure: Failure | None
    verdict: str
    output: Path | None
    output_digest: str | None
    seconds: float

    def discard(self) -> None:
        """Remove the output file."""
        if self.output is not None:
            self.output.unlink(missing_ok=True)


class CleanRoom:
    """Runs frozen methods, each time in a fresh sandbox.

    Args:
        backend: makes the sandboxes.
        problem: gives the limits of a run and the library at ``/lab``.
        snapshots: where digests are looked up; None where only directories are run.
        work_dir: for bundles, workspaces and outputs while they are needed; nothing else may use it.
        leases: give each run cores that no researcher uses; None runs it on any.
    """

    def __init__(
        self,
        backend: SandboxBackend,
        problem: Problem,
        snapshots: SnapshotStore | None,
        work_dir: Path,
        leases: Leases | None = None,
    ) -> None:
        self.backend = backend
        self.problem = problem
        self.work_dir = work_dir
        self._snapshots = snapshots
        self._leases = leases

    async def run(
        self,
        task: Task,
        source: str | Path,
        seed: int,
        *,
        owner: str = DEFAULT_OWNER,
        slot: AbstractAsyncContextManager[object] | None = None,
    ) -> RunOutcome:
        """Run a method once on a task's public bundle.

        Args:
            source: digest of a snapshot, or a directory that nobody changes meanwhile.
            seed: given as ``--seed``.
            owner: campaign id under which the sandbox is found if this process dies.
            slot: held while the method itself runs; the sandbox is made before and removed after.

        Raises:
            SandboxUnavailable, SandboxError: the sandbox could not be made or was lost; the method is not to blame.
            NotFound: no snapshot of that digest.
        """
        limits = self.problem.run_limits
        mounts = [Mount(task.public, "/data"), Mount(self.problem.lab(), "/lab")]
        async with self._sandbox(owner, source, mounts) as sandbox:
            command = ["python", "run.py", "--data", "/data", "--seed", str(seed), "--out", OUTPUT]
            async with slot or nullcontext():
                result = await sandbox.exec(command, timeout=limits.seconds, cwd="/method", output_limit=_PRINTED_BYTES)
            bad = why_it_ended(result, limits, self._hosts(task, source))
            if bad is not None:
                return _failed(bad, result)
            return await self._collect(sandbox, result)

    async def probe(self, *, owner: str = DEFAULT_OWNER) -> None:
        """Make an idle sandbox and run a trivial command: raises SandboxUnavailable or SandboxError if that fails."""
        async with self._sandbox(owner, None, []) as sandbox:
            result = await sandbox.exec(["true"], timeout=_READ_SECONDS)
        if not result.ok:
            raise SandboxError(
                f"a trivial command failed in a fresh sandbox: {result.output[-200:]}", "Run `aar doctor`"
            )

    async def sweep(self, owner: str) -> None:
        """Remove what a former process left: sandboxes of its runs under ``owner``, bundles, workspaces, outputs."""
        for name in await self.backend.orphans(owner):
            if name.startswith(f"{owner}-run-"):
                await self.backend.remove(name)
        await anyio.to_thread.run_sync(files.sweep, self.work_dir)

    @asynccontextmanager
    async def _sandbox(self, owner: str, source: str | Path | None, mounts: Sequence[Mount]) -> AsyncIterator[Sandbox]:
        name = f"{owner}-run-{secrets.token_hex(4)}"
        folder = self.work_dir / "runs" / name
        sandbox: Sandbox | None = None
        async with self._cores(owner) as cores:
            try:
                method = await anyio.to_thread.run_sync(files.lay_out, source, self._snapshots, folder)
                spec = self._spec(name, owner, folder / "workspace", [*mounts, *method], cores)
                # Made to the end even when cancelled: a half-made sandbox cannot be destroyed.
                with CancelScope(shield=True):
                    made = await self.backend.create(spec)
                sandbox = made
                yield made
            finally:
                with CancelScope(shield=True):
                    await self._clear(name, sandbox)
                    await anyio.to_thread.run_sync(files.remove, folder)

    @asynccontextmanager
    async def _cores(self, owner: str) -> AsyncIterator[Sequence[int]]:
        if self._leases is None:
            yield ()
            return
        async with self._leases.scoring(cores=math.ceil(self.problem.run_limits.cpus), owner=owner) as lease:
            yield lease.cores

    async def _clear(self, name: str, sandbox: Sandbox | None) -> None:
        try:
            if sandbox is not None:
                await sandbox.destroy()
            else:
                await self.backend.remove(name)
        except SandboxError as error:
            log.warning("sandbox left behind; the next start sweeps it", name=name, error=str(error))

    def _spec(
        self, name: str, owner: str, workspace: Path, mounts: Sequence[Mount], cores: Sequence[int]
    ) -> SandboxSpec:
        limits = self.problem.run_limits
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
            lifetime_seconds=limits.seconds + _LIFETIME_MARGIN_SECONDS,
            cores=cores,
        )

    def _hosts(self, task: Task, source: str | Path) -> list[Path]:
        own = [_PACKAGE, Path(sys.prefix), Path.home(), get_settings().home.absolute(), runtime_root()]
        hosts = [self.work_dir, task.public.parent, self.problem.lab(), *own]
        if isinstance(source, Path):
            hosts.append(source)
        # What lies under /usr is shown inside under the same name.
        return [host for host in hosts if not host.is_relative_to("/usr")]

    async def _collect(self, sandbox: Sandbox, result: ExecResult) -> RunOutcome:
        limits = self.problem.run_limits
        try:
            # A pipe at the path would keep a reader waiting for ever.
            with anyio.fail_after(_READ_SECONDS):
                content = await sandbox.read(OUTPUT, limit=limits.output_bytes)
        except FileNotFoundError:
            return _failed(no_output(), result)
        except (OSError, TransferRefused):  # TimeoutError is an OSError
            return _failed(refused_output(limits), result)
        path = await anyio.to_thread.run_sync(files.keep, content, self.work_dir)
        return RunOutcome(True, None, "", path, hashlib.sha256(content).hexdigest(), result.seconds)


def _failed(bad: tuple[Failure, str], result: ExecResult) -> RunOutcome:
    return RunOutcome(False, bad[0], bad[1], None, None, result.seconds)
