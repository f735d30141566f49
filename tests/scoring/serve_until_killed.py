"""A scorer in a process of its own, for the test that kills it: database URL, snapshots, work folder, problem."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aar.budget.ledger import Ledger
from aar.budget.limits import Limits
from aar.llm.price_book import PriceBook
from aar.problems.registry import find_problem
from aar.sandbox.bubblewrap.backend import BubblewrapBackend
from aar.scoring.audits.score_audits import TeacherAudit
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.scorer import Scorer
from aar.snapshots.store import SnapshotStore
from aar.store import open_database


async def main(url: str, snapshots: str, work_dir: str, problem_folder: str) -> None:
    db, problem = open_database(url), find_problem(Path(problem_folder))
    ledger = Ledger(db, "k3v9qd", Limits(), PriceBook())
    await ledger.load()
    clean_room = CleanRoom(
        BubblewrapBackend(distributions=("numpy",)), problem, SnapshotStore(Path(snapshots)), Path(work_dir)
    )
    audits = [TeacherAudit()]
    scorer = Scorer(db, "k3v9qd", problem, clean_room, ledger, seeds=2, parallel=2, secret="s" * 64, audits=audits)
    await scorer.serve()


asyncio.run(main(*sys.argv[1:]))
