"""What scoring costs beyond the methods themselves. Run: python benchmarks/scoring.py [--problem NAME] [--quick]

First each of a few submissions goes alone from the call that hands it in to its verdict, one seed, one run at a time;
the overhead is the wall time less the time that the method itself ran (its interpreter's start included). Then every
baseline is measured, two runs at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.table import Table

from aar.budget.ledger import Ledger
from aar.budget.limits import Limits
from aar.budget.prices import PriceBook
from aar.problems.protocol import Problem, Stage
from aar.problems.registry import find
from aar.sandbox.choose import choose
from aar.sandbox.protocol import SandboxBackend
from aar.scoring.baselines import measure_baselines
from aar.scoring.bundles import prepared
from aar.scoring.cleanroom import CleanRoom
from aar.scoring.manifest import read_manifest
from aar.scoring.scorer import Scorer
from aar.scoring.submissions import SubmissionView, submit
from aar.snapshots.store import SnapshotStore
from aar.store import Database, open_database
from aar.store.models import ScoringRun
from aar.testing.rows import add_campaign

CAMPAIGN = "bench2"


class Bench:
    """A campaign in a scratch folder with its scorer."""

    def __init__(self, folder: Path, problem: Problem, backend: SandboxBackend) -> None:
        folder.chmod(0o711)
        self.problem = problem
        self.db: Database = open_database(f"sqlite:///{folder / 'aar.db'}")
        with self.db.writing() as session:
            add_campaign(session, CAMPAIGN)
        self.snapshots = SnapshotStore(folder / "snapshots")
        self.room = CleanRoom(backend, problem, self.snapshots, folder / "work")
        self.methods = folder / "methods"

    def scorer(self) -> Scorer:
        ledger = Ledger(self.db, CAMPAIGN, Limits(), PriceBook())
        return Scorer(self.db, CAMPAIGN, self.problem, self.room, ledger, seeds=1, parallel=1, secret="bench")

    def hand_in(self, index: int) -> SubmissionView:
        """The first baseline, made different by a comment."""
        directory = self.methods / str(index)
        directory.mkdir(parents=True)
        for file in self.problem.baselines()[0].directory.iterdir():
            if file.is_file():
                (directory / file.name).write_bytes(file.read_bytes())
        with (directory / "run.py").open("a") as code:
            code.write(f"# {index}\n")
        with self.db.writing() as session:
            return submit(
                session,
                campaign_id=CAMPAIGN,
                researcher_id=f"{CAMPAIGN}-r1",
                saved=self.snapshots.save(directory),
                manifest=read_manifest(directory),
            )

    def method_seconds(self, submission_id: int) -> tuple[float, int]:
        with self.db.reading() as session:
            runs = session.query(ScoringRun).filter(ScoringRun.submission_id == submission_id).all()
        return sum(run.seconds for run in runs), len(runs)


async def overheads(bench: Bench, count: int) -> list[float]:
    """Milliseconds per run beyond the method's own, of submissions that go alone."""
    scorer = bench.scorer()
    service = asyncio.create_task(scorer.serve())
    found = []
    for index in range(count + 1):
        begun = time.perf_counter()
        view = bench.hand_in(index)
        ended = await scorer.wait_for(view.number, 600)
        wall = time.perf_counter() - begun
        if ended.state != "measured":
            raise SystemExit(ended.verdict)
        own, runs = bench.method_seconds(view.id)
        found.append(1000 * (wall - own) / runs)
    service.cancel()
    with suppress(asyncio.CancelledError):
        await service
    return found[1:]  # the first one loads the problem's data


async def stages(bench: Bench, count: int) -> dict[str, float]:
    """Median milliseconds of a run's stages."""
    times: dict[str, list[float]] = {"prepare": [], "sandbox": [], "method": [], "score": []}
    source = bench.problem.baselines()[0].directory
    for index in range(count):
        begun = time.perf_counter()
        async with prepared(
            bench.problem,
            bench.room.work_dir,
            domain=bench.problem.climbed_domains[0],
            stage=Stage.MEASURE,
            split_seed=index,
        ) as task:
            ready = time.perf_counter()
            outcome = await bench.room.run(task, source, index)
            ran = time.perf_counter()
            if outcome.output is None:
                raise SystemExit(outcome.verdict)
            await asyncio.to_thread(bench.problem.score, task, outcome.output)
            scored = time.perf_counter()
            outcome.discard()
        times["prepare"].append(ready - begun)
        times["sandbox"].append(ran - ready - outcome.seconds)
        times["method"].append(outcome.seconds)
        times["score"].append(scored - ran)
    return {name: 1000 * statistics.median(values) for name, values in times.items()}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problem", default="weak_to_strong")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--quick", action="store_true", help="a few submissions, one seed")
    options = parser.parse_args()
    problem, backend = find(options.problem), await choose(options.backend)
    count, seeds = (4, 1) if options.quick else (12, 2)
    console = Console()
    console.print(f"{problem.name} by {backend.name}, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), problem, backend)
        table = Table("measure", "value")
        found = await overheads(bench, count)
        table.add_row(
            "submit to score beyond the method, per run, p50 / max",
            f"{statistics.median(found):.0f} / {max(found):.0f} ms",
        )
        for name, milliseconds in (await stages(bench, count)).items():
            table.add_row(f"  {name}, median", f"{milliseconds:.0f} ms")
        begun = time.perf_counter()
        results = await measure_baselines(problem, bench.room, seeds=seeds, parallel=2)
        wall = time.perf_counter() - begun
        runs = len(results) * seeds * len(problem.climbed_domains)
        table.add_row("baseline runs per minute, two at a time", f"{60 * runs / wall:.1f}")
        table.add_row(f"baselines per minute at {seeds} seed(s)", f"{60 * len(results) / wall:.1f}")
        console.print(table)
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
