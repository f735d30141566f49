"""Overshoot of limits in random schedules of faults. Run: python benchmarks/fault_schedules.py [SCHEDULES] [FIRST]

Each schedule is a team of real researchers with the real gateway, ledger and SQLite, asking the contract double of the
Messages API over HTTP: rate limits, overloads, broken and stalled streams, refusals, cut replies, summaries, pauses,
kills of the controller (see ``aar.testing.fault_runs``). What the double billed by its own usage, broken answers
included, is held against every limit.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

from aar.testing.fault_checks import Verdict
from aar.testing.fault_runs import make_template, run_schedule


def main() -> None:
    """Run them one after the other and print what came of them."""
    schedules = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    began = time.monotonic()
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory() as scratch:
        template = make_template(Path(scratch) / "template.db")
        for seed in range(first, first + schedules):
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                verdicts.append(asyncio.run(run_schedule(seed, template, Path(folder))))
            for complaint in verdicts[-1].complaints:
                print(f"schedule {seed}: {complaint}", flush=True)
    show(verdicts, time.monotonic() - began)


def show(verdicts: list[Verdict], seconds: float) -> None:
    """Print the worst of each limit, and how much was really at stake."""
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
