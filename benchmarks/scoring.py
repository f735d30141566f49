"""Measures the cost of scoring beyond the methods themselves.

Run: python benchmarks/scoring.py [--quick] [--cold]

Submissions go one at a time from the submitting call to the verdict; a new one is submitted when the former has its
verdict and the sandboxes for the next are ready. The overhead of one is the wall time from before its code is saved
until ``wait_for`` returns its verdict, less the seconds that its runs' methods took (their interpreters' start
included), divided by the runs that go side by side. It includes the saving of the code, the queue, the drawing of the
split with its teacher and ceiling, the sandbox, the reading and scoring of the output, and every database write; it
does not include the agent's model call. With one seed and two domains there are two runs a submission, and the second
split is prepared while the first run is on.

Then every baseline is measured, two runs at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aar.budget.ledger import Ledger
from aar.budget.limits import Limits
from aar.llm.price_book import PriceBook
from aar.problems.protocol import Problem, version_of
from aar.problems.registry import find_problem
from aar.redteam.campaign_rows import add_campaign
from aar.sandbox.channel.channel_sandbox import ChannelSandbox
from aar.sandbox.inventory import choose_backend
from aar.sandbox.protocol import SandboxBackend
from aar.scoring import finalizer
from aar.scoring.baselines import measure_baselines
from aar.scoring.cleanroom import run_sandbox, scoring_run
from aar.scoring.cleanroom.clean_room import CleanRoom, SandboxPool
from aar.scoring.cleanroom.run_sandbox import RunSandboxFactory
from aar.scoring.method_manifest import read_manifest
from aar.scoring.scorer import Scorer
from aar.scoring.submissions import SubmissionView, submit
from aar.snapshots.store import SnapshotStore
from aar.store import Database, open_database
from aar.store.models import ScoringRun

CAMPAIGN = "bench2"
READY_SECONDS = 60.0


class Stopwatch:
    """Milliseconds by stage, taken around the real calls."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(list)

    def watch(self, owner: Any, name: str, stage: str, own: Callable[[Any], float] = lambda _: 0.0) -> None:
        """Time every call of ``owner.name``.

        ``own`` returns the seconds of its result that are not overhead.
        """
        inner = getattr(owner, name)

        def note(begun: float, result: object) -> None:
            self.spent[stage].append(1000 * (time.perf_counter() - begun - own(result)))

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            result = await inner(*args, **kwargs)
            note(begun, result)
            return result

        def called(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            result = inner(*args, **kwargs)
            note(begun, result)
            return result

        setattr(owner, name, awaited if asyncio.iscoroutinefunction(inner) else called)

    def clear(self) -> None:
        self.spent.clear()


class Bench:
    """A campaign in a scratch folder with its scorer."""

    def __init__(self, folder: Path, problem: Problem, backend: SandboxBackend, parallel: int) -> None:
        folder.chmod(0o711)
        self.problem = problem
        self.parallel = parallel
        self.db: Database = open_database(f"sqlite:///{folder / 'aar.db'}")
        with self.db.writing() as session:
            add_campaign(session, CAMPAIGN, problem_version=version_of(problem))
        self.snapshots = SnapshotStore(folder / "snapshots")
        self.room = CleanRoom(backend, problem, self.snapshots, folder / "work")
        self.methods = folder / "methods"

    def scorer(self) -> Scorer:
        ledger = Ledger(self.db, CAMPAIGN, Limits(), PriceBook())
        return Scorer(
            self.db, CAMPAIGN, self.problem, self.room, ledger, seeds=1, parallel=self.parallel, secret="bench"
        )

    def method(self, index: int) -> Path:
        """Return the first baseline, made another method by a constant."""
        directory = self.methods / str(index)
        directory.mkdir(parents=True)
        for file in self.problem.baselines()[0].directory.iterdir():
            if file.is_file():
                (directory / file.name).write_bytes(file.read_bytes())
        with (directory / "run.py").open("a") as code:
            code.write(f"\nUNUSED = {index}\n")
        return directory

    def hand_in(self, directory: Path) -> SubmissionView:
        saved = self.snapshots.save(directory)
        with self.db.writing() as session:
            return submit(
                session,
                campaign_id=CAMPAIGN,
                researcher_id=f"{CAMPAIGN}-r1",
                saved=saved,
                manifest=read_manifest(directory),
            )

    def method_seconds(self, submission_id: int) -> tuple[float, int]:
        with self.db.reading() as session:
            runs = session.query(ScoringRun).filter(ScoringRun.submission_id == submission_id).all()
        return sum(run.seconds for run in runs), len(runs)

    async def until_ready(self, rooms: int) -> None:
        async with asyncio.timeout(READY_SECONDS):
            while self.room.count_ready(CAMPAIGN) < rooms:  # noqa: ASYNC110 - the pool tells nobody
                await asyncio.sleep(0.01)


async def overheads(bench: Bench, count: int, stopwatch: Stopwatch, rooms: int) -> list[tuple[float, int]]:
    """Measure the milliseconds beyond the methods' own, and the runs.

    Submissions go alone.
    """
    scorer = bench.scorer()
    service = asyncio.create_task(scorer.serve())
    found = []
    for index in range(count + 1):
        directory = bench.method(index)
        await bench.until_ready(rooms)
        if index == 1:
            stopwatch.clear()  # the first one loads the problem's data
        begun = time.perf_counter()
        view = await asyncio.to_thread(bench.hand_in, directory)
        ended = await scorer.wait_for(view.number, 600)
        wall = time.perf_counter() - begun
        if ended.state != "measured":
            raise SystemExit(ended.verdict)
        own, runs = bench.method_seconds(view.id)
        found.append((1000 * (wall - own / bench.parallel), runs))
    service.cancel()
    with suppress(asyncio.CancelledError):
        await service
    return found[1:]


def watch_all(stopwatch: Stopwatch) -> None:
    """Put the stopwatch around every stage of a run."""
    stopwatch.watch(SnapshotStore, "save", "save the code")
    stopwatch.watch(run_sandbox, "call_plugin", "split: teacher, ceiling, files")
    stopwatch.watch(SandboxPool, "acquire", "sandbox: take a warm one")
    stopwatch.watch(RunSandboxFactory, "create_sandbox", "sandbox: make one (in the background when warm)")
    stopwatch.watch(run_sandbox, "fill_run_folder", "sandbox: data and code in")
    stopwatch.watch(ChannelSandbox, "exec", "start and end of the command", lambda result: result.seconds)
    stopwatch.watch(ChannelSandbox, "read", "read the output")
    stopwatch.watch(scoring_run, "call_plugin", "score")
    stopwatch.watch(finalizer, "pool_scores", "pool")
    stopwatch.watch(Database, "write", "one database write (claim, start, result, verdict, money)")


@asynccontextmanager
async def no_pool(_room: CleanRoom, _owner: str, _parallel: int) -> AsyncIterator[None]:
    """Replace ``CleanRoom.warm_sandboxes``."""
    yield


def percentiles(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else "-"
    return f"{statistics.median(values):.1f} / {statistics.quantiles(values, n=20, method='inclusive')[-1]:.1f}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", default="weak_to_strong")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--submissions", type=int, default=40)
    parser.add_argument("--parallel", type=int, default=1, help="runs side by side in the first part")
    parser.add_argument("--quick", action="store_true", help="a few submissions, one seed")
    parser.add_argument("--cold", action="store_true", help="without sandboxes made ahead")
    options = parser.parse_args()
    problem, backend = find_problem(options.problem), await choose_backend(options.backend)
    count, seeds = (4, 1) if options.quick else (options.submissions, 2)
    stopwatch = Stopwatch()
    watch_all(stopwatch)
    if options.cold:
        setattr(CleanRoom, "warm_sandboxes", no_pool)  # noqa: B010 - a method is replaced on purpose
    console = Console()
    console.print(
        f"{problem.name} by {backend.name}, {'cold' if options.cold else 'warm'}, "
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, Python {sys.version.split()[0]}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), problem, backend, options.parallel)
        table = Table("measure", "p50 / p95 ms")
        found = await overheads(bench, count, stopwatch, 0 if options.cold else options.parallel + 1)
        table.add_row("submit to score beyond the methods, a submission", percentiles([ms for ms, _ in found]))
        table.add_row("the same, a run", percentiles([ms / runs for ms, runs in found]))
        for stage, spent in stopwatch.spent.items():
            table.add_row(f"  {stage} (x{len(spent) / count:.1f})", percentiles(spent))
        begun = time.perf_counter()
        results = await measure_baselines(problem, bench.room, seeds=seeds, parallel=2)
        wall = time.perf_counter() - begun
        runs = len(results) * seeds * len(problem.climbed_domains)
        console.print(table)
        console.print(
            f"baselines, two at a time: {60 * runs / wall:.1f} runs a minute, "
            f"{60 * len(results) / wall:.1f} baselines a minute at {seeds} seed(s), "
            f"methods' own {sum(result.seconds for result in results):.1f} s of {2 * wall:.1f} s"
        )
        for result in results:
            shown = (
                result.verdict
                if result.estimate is None
                else f"{result.estimate.mean:.2f} ± {result.estimate.standard_error:.2f}"
            )
            console.print(f"{result.key}: {shown} ({result.seconds:.1f} s)", markup=False)
        bench.db.close()
        await backend.close()


asyncio.run(main())
