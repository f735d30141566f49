"""Measures the ledger's speed.

Run: `python benchmarks/ledger.py [PAIRS] [RESEARCHERS]`.

Prints reserve + settle pairs a second, CPU milliseconds a pair, and the time of the totals query over all of them, on
SQLite in a temporary folder. Compare as ratios on one machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import anyio

from aar.budget.ledger import Ledger, WorstCase
from aar.budget.limits import Limits
from aar.budget.totals import read_totals
from aar.llm.price_book import PriceBook
from aar.llm.usage import Usage
from aar.store import Database, open_database
from aar.store.models import Campaign, Researcher

MODEL = "claude-opus-5-5"


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    team = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    with tempfile.TemporaryDirectory() as folder:
        db = open_database(f"sqlite:///{Path(folder) / 'ledger.db'}")
        with db.writing() as session:
            session.add(Campaign(id="bench2", name="b", problem="p", spec={}, state="running", secret="s"))
            session.flush()
            for index in range(team):
                session.add(
                    Researcher(
                        id=f"bench2-r{index}",
                        campaign_id="bench2",
                        name=f"r{index}",
                        index=index,
                        direction_key="d",
                        direction="d",
                        model=MODEL,
                        state="running",
                    )
                )
        ledger = Ledger(db, "bench2", Limits(usd=Decimal(10**6)), PriceBook())
        PriceBook().price(MODEL)  # loads the tables, once a process
        wall, cpu = time.perf_counter(), time.process_time()
        anyio.run(work, ledger, db, pairs // team, team)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        done = pairs // team * team
        print(f"{done} pairs by {team} researchers: {done / wall:.0f} pairs/s, {cpu / done * 1000:.2f} CPU ms a pair")
        wall = time.perf_counter()
        with db.reading() as session:
            spent = read_totals(session, "bench2").campaign
        print(f"totals over {done} rows: {(time.perf_counter() - wall) * 1000:.1f} ms; ${spent.usd:.2f} spent")
        db.close()


async def work(ledger: Ledger, db: Database, turns: int, team: int) -> None:
    await ledger.load()

    async def researcher(index: int) -> None:
        for turn in range(turns):
            request_id = f"{index}:{turn}"
            await ledger.reserve(WorstCase("model", MODEL, 20_000, 8192), request_id, f"bench2-r{index}")
            usage = Usage(200, 1000, 0, 18_000, 700)
            await db.write(lambda session, key=request_id, used=usage: ledger.settle_in(session, key, used, 1.0))

    async with anyio.create_task_group() as group:
        for index in range(team):
            group.start_soon(researcher, index)


if __name__ == "__main__":
    main()
