"""What is charged for runs that come to no good end."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from aar.budget.ledger import Ledger
from aar.budget.limits import Limits
from aar.errors import SandboxGone
from aar.llm.price_book import PriceBook
from aar.problems.protocol import Problem
from aar.sandbox.protocol import Sandbox, SandboxBackend, SandboxSpec
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.scorer import Scorer
from aar.store.models import LedgerEntry, ScoringRun

from ..conftest import CAMPAIGN, Desk, Serving

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]


class EndsItself:
    """A real sandbox that is gone a while after a method was started in it."""

    def __init__(self, inner: Sandbox) -> None:
        self._inner = inner
        self.spec = inner.spec

    async def exec(self, command: Any, **kwargs: Any) -> Any:
        if "run.py" not in command:
            return await self._inner.exec(command, **kwargs)
        await anyio.sleep(0.2)
        await self._inner.destroy()
        raise SandboxGone("it ended itself")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class EndingBackend:
    def __init__(self, inner: SandboxBackend) -> None:
        self._inner = inner

    async def create(self, spec: SandboxSpec) -> Any:
        return EndsItself(await self._inner.create(spec))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def entries(desk: Desk) -> list[LedgerEntry]:
    with desk.db.reading() as session:
        return list(session.query(LedgerEntry))


async def test_runs_cancelled_because_another_failed_are_paid_for(desk: Desk, serving: Serving) -> None:
    code = (
        "import sys, time\nseed = int(sys.argv[sys.argv.index('--seed') + 1])\ntime.sleep(2.5 + seed % 10 / 10)\n1/0\n"
    )
    view = desk.submit(desk.method(code))
    async with serving() as (scorer, _):
        assert (await scorer.wait_for(view.number, 60)).state == "rejected"
    booked = [entry for entry in entries(desk) if entry.state == "settled"]
    assert len(booked) >= 2  # the one that failed, and the one beside it
    assert all(entry.seconds > 0 for entry in booked)
    assert {entry.state for entry in entries(desk)} <= {"settled", "released"}


async def test_a_method_that_ends_its_own_sandbox_pays_for_every_attempt(
    desk: Desk, problem: Problem, clean_room: CleanRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aar.scoring.cleanroom.scoring_run._PAUSE_SECONDS", 0.0)
    room = CleanRoom(EndingBackend(clean_room.backend), problem, desk.snapshots, clean_room.work_dir)  # type: ignore[arg-type]
    view = desk.submit(desk.method("pass\n"))
    ledger = Ledger(desk.db, CAMPAIGN, Limits(), PriceBook())
    await ledger.load()
    scorer = Scorer(desk.db, CAMPAIGN, problem, room, ledger, seeds=1, parallel=1, secret="s" * 64)
    service = asyncio.create_task(scorer.serve())
    try:
        assert (await scorer.wait_for(view.number, 60)).state == "rejected"
    finally:
        service.cancel()
        await asyncio.gather(service, return_exceptions=True)
    with desk.db.reading() as session:
        [run] = [run for run in session.query(ScoringRun) if run.state == "failed"]
    booked = [entry for entry in entries(desk) if f"-{run.id}-" in entry.request_id]
    assert [entry.state for entry in booked] == ["settled"] * 3
    assert all(entry.seconds >= 0.2 * problem.run_limits.cpus for entry in booked)
    assert run.seconds * problem.run_limits.cpus == pytest.approx(sum(entry.seconds for entry in booked), abs=0.01)


async def test_attempts_that_no_longer_fit_a_limit_are_not_made(
    desk: Desk, problem: Problem, clean_room: CleanRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aar.scoring.cleanroom.scoring_run._PAUSE_SECONDS", 0.0)
    room = CleanRoom(EndingBackend(clean_room.backend), problem, desk.snapshots, clean_room.work_dir)  # type: ignore[arg-type]
    view = desk.submit(desk.method("pass\n"))
    limits = problem.run_limits
    most = (limits.seconds * limits.cpus + 0.1) / 3600  # one attempt, and not what a second one would add
    ledger = Ledger(desk.db, CAMPAIGN, Limits(core_hours=most), PriceBook())
    await ledger.load()
    scorer = Scorer(desk.db, CAMPAIGN, problem, room, ledger, seeds=1, parallel=1, secret="s" * 64)
    service = asyncio.create_task(scorer.serve())
    with anyio.move_on_after(30):
        await asyncio.gather(service, return_exceptions=True)
    assert service.done()  # the campaign's limit ends it
    assert (await scorer._finalizer.view(view.number)).state not in ("measured", "rejected")
    assert sum(entry.seconds for entry in entries(desk)) <= most * 3600
    assert [entry.state for entry in entries(desk)].count("settled") == 1
