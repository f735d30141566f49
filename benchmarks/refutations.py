"""Measures how often honest and overfitted winners are refuted.

Run: python benchmarks/refutations.py [--quick] [--unlike X]

Simulated campaigns by the scorer's own rules: 20, 50 or 200 equally good methods on two domains, the best five of them
confirmed with as many seeds as they were measured with. The first table gives the percentage of campaigns in which any
honest winner is refuted (promised: at most 5), without and with the floor that test items put under an error; the
others how often a winner is refuted that is better where it is measured than on the sealed split. Takes two minutes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from aar.testing.statistics_simulations import SimulatedCampaign, share_caught, share_refuted

SEEDS = (2, 3, 4, 8)
CODES = (20, 50, 200)
FALLS = (0.1, 0.15, 0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few campaigns a cell")
    parser.add_argument("--unlike", type=float, default=0.0, help="how much methods differ in noise: sd of its log")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    campaigns = 100 if options.quick else 1000
    rng = np.random.default_rng(options.seed)
    console = Console()

    def table(title: str, share: Callable[[SimulatedCampaign], float]) -> None:
        columns = (f"{codes} codes{', floor' if floor else ''}" for floor in (False, True) for codes in CODES)
        found = Table("seeds", *columns, title=title)
        for seeds in SEEDS:
            kinds = [
                SimulatedCampaign(seeds, codes, floor=floor, unlike=options.unlike)
                for floor in (False, True)
                for codes in CODES
            ]
            found.add_row(str(seeds), *(f"{100 * share(kind):.1f}" for kind in kinds))
        console.print(found)

    table("honest winners: campaigns with a refutation, %", lambda kind: share_refuted(kind, campaigns, rng))
    for fall in FALLS:
        caught = max(100, campaigns // 10)
        table(
            f"winner overfitted by {fall} ({fall / SimulatedCampaign(2, 20).noise:.1f} times a seed's noise): refuted, "
            "%",
            lambda kind, fall=fall, caught=caught: share_caught(kind, fall, caught, rng),
        )
    console.print(f"Monte Carlo error of a 5 % cell about {100 * math.sqrt(0.05 * 0.95 / campaigns):.1f}")


if __name__ == "__main__":
    main()
