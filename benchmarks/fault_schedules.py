"""Measures how far limits are overshot in random schedules of faults.

Run: python benchmarks/fault_schedules.py [SCHEDULES] [FIRST] [JOBS]

Each schedule is a team of real researchers with the real gateway, ledger and SQLite, asking the contract double of the
Messages API over HTTP: rate limits, overloads, broken and stalled streams, refusals, cut replies, summaries, pauses,
usage reported wrongly or not at all, kills of the controller (see ``aar.testing.fault_campaigns``). What the
double billed by its own usage, broken answers included, is held against every limit. JOBS processes share the
schedules.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path

from aar.testing.fault_campaigns import make_template_database, run_schedule
from aar.testing.ledger_comparison import ScheduleVerdict


def main() -> None:
    """Run the schedules one after the other and print their results."""
    given = [int(argument) for argument in sys.argv[1:4]]
    schedules, first, jobs = [*given, *(1000, 0, 1)[len(given) :]]
    began = time.monotonic()
    seeds = range(first, first + schedules)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        verdicts = [
            each for batch in pool.map(run, (seeds[at : at + 10] for at in range(0, schedules, 10))) for each in batch
        ]
    show(verdicts, time.monotonic() - began)


def run(seeds: Sequence[int]) -> list[ScheduleVerdict]:
    """Run schedules one after the other; complaints are printed at once."""
    verdicts: list[ScheduleVerdict] = []
    with tempfile.TemporaryDirectory() as scratch:
        template = make_template_database(Path(scratch) / "template.db")
        for seed in seeds:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                verdicts.append(asyncio.run(run_schedule(seed, template, Path(folder))))
            for complaint in verdicts[-1].complaints:
                print(f"schedule {seed}: {complaint}", flush=True)
    return verdicts


def show(verdicts: list[ScheduleVerdict], seconds: float) -> None:
    """Print the worst overshoot of each limit, and the amounts at stake."""
    for limit in ("usd", "tokens", "researcher.usd", "researcher.tokens", "researcher.turns"):
        held = [verdict.overshoot[limit] for verdict in verdicts if limit in verdict.overshoot]
        unit = "$" if limit.endswith("usd") else ""
        print(f"{limit:<18} overshoot at most {unit}{max(held, default=Decimal(0)):.2f} in {len(held)} schedules")
    faults = sum((verdict.faults for verdict in verdicts), Counter[str]())
    outcomes = sum((verdict.outcomes for verdict in verdicts), Counter[str]())
    billed, counted = (sum((getattr(v, what) for v in verdicts), Decimal(0)) for what in ("billed", "counted"))
    print(f"{sum(v.answers for v in verdicts)} answers, {sum(v.summaries for v in verdicts)} summaries; {dict(faults)}")
    print(f"lives ended: {dict(outcomes)}; billed ${billed:.2f}, in the ledger ${counted:.2f}")
    print(f"{sum(bool(v.complaints) for v in verdicts)} schedules with complaints; {seconds:.0f} s")


if __name__ == "__main__":
    main()
