"""Runs the attack suite and times it.

Run: python benchmarks/attacks.py [--problem NAME] [--submissions N]

Prints the table that ``docs/attacks.md`` holds, as Markdown, with the seconds of each attack.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

from aar.problems.registry import find_problem
from aar.redteam import SUBMISSIONS, AttackOutcome, attack_all
from aar.sandbox.inventory import choose_backend
from aar.testing.principal_axes import PrincipalAxes


def row(outcome: AttackOutcome) -> str:
    """Return one line of the table."""
    noise = {True: "inside", False: "**above**", None: "–"}[outcome.inside_noise]
    cells = (f"`{outcome.name}`", outcome.goal, outcome.gain_text, noise, outcome.summary, f"{outcome.seconds:.0f}")
    return f"| {' | '.join(cells)} |"


async def main() -> None:
    """Attack and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problem", default="weak_to_strong")
    parser.add_argument("--submissions", type=int, default=SUBMISSIONS)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--only", action="append", default=[], help="name of an attack; may be repeated")
    parser.add_argument("--principal-axes", action="store_true", help="weak_to_strong as it was before its version 2")
    options = parser.parse_args()
    backend = await choose_backend(options.backend)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="aar-attack-", ignore_cleanup_errors=True) as folder:
        problem = PrincipalAxes() if options.principal_axes else find_problem(options.problem)
        outcomes = await attack_all(problem, backend, Path(folder), only=options.only, submissions=options.submissions)
    await backend.close()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {backend.name}, {options.submissions} submissions\n")
    print("| attack | what it tries | gain on the sealed split | noise | answered by | s |\n|---|---|---|---|---|---|")
    for outcome in outcomes:
        print(row(outcome))
    print()
    for outcome in outcomes:
        if outcome.result is not None and outcome.result.said:
            print(f"- `{outcome.name}`: {outcome.result.said}")
    bad = [outcome.name for outcome in outcomes if not outcome.held]
    print(f"\n{time.perf_counter() - begun:.0f} s, not held: {', '.join(bad) or 'none'}")


if __name__ == "__main__":
    asyncio.run(main())
