"""Campaigns under random faults of the service and controller, which must respect all limits.

A schedule is drawn from its seed: a team of real researchers with the real gateway, ledger and SQLite calls the fake
Messages API over HTTP, which refuses, breaks off, stalls, cuts short, summarises; the controller is paused, cut off or
killed, and another one takes over from the log. ``ledger_comparison`` then compares the fake server's bill with the
ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aar.budget.ledger import Ledger
from aar.llm.api_errors import RetryPolicy
from aar.llm.capabilities import capabilities_by_name
from aar.llm.concurrency_limiter import AdaptiveLimiter, LimiterPolicy
from aar.llm.gateway import Gateway
from aar.llm.price_book import PriceBook
from aar.problems.protocol import Metric
from aar.redteam.campaign_rows import add_campaign
from aar.researcher import loop, turn
from aar.researcher.context import FallbackModel, ResearcherContext, ResearcherOutcome
from aar.researcher.loop import run_researcher
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.database import Database
from aar.testing.fake_messages_api import FakeMessagesApi, FunctionModel, ServerRules, serve_app
from aar.testing.faults.crashing_database import ControllerKilled, CrashingDatabase
from aar.testing.faults.ledger_comparison import CAMPAIGN, ScheduleVerdict, judge_schedule
from aar.testing.faults.schedules import SILENCE, TEAM, Schedule

_FALLBACK = "claude-haiku-4-5"
_NAME = re.compile(r"^Researcher: (r\d+)$", re.MULTILINE)


class _Problem:
    name = "puzzle"
    metric = Metric("PGR", higher_is_better=True, ceiling=1.0)

    def brief(self) -> str:
        return "Solve the puzzle."


class _Direction:
    key, text = "noise", "Think of weak labels as a noisy channel."


@contextlib.contextmanager
def shortened_waits() -> Iterator[None]:
    """Shorten the event loop's waits from seconds to milliseconds.

    They apply between the calls of a faulty service.
    """
    before = loop._MAX_BACKOFF_SECONDS, turn._POLL_SECONDS
    loop._MAX_BACKOFF_SECONDS, turn._POLL_SECONDS = 0.01, 0.01
    try:
        yield
    finally:
        loop._MAX_BACKOFF_SECONDS, turn._POLL_SECONDS = before


def make_template_database(file: Path) -> Path:
    """Return a database with an unstarted campaign, to copy for each schedule."""
    db = open_database(f"sqlite:///{file}")
    with db.writing() as session:
        add_campaign(session, CAMPAIGN, TEAM)
    db.close()
    return file


async def run_schedule(seed: int, template: Path, folder: Path) -> ScheduleVerdict:
    """Run all lives of a schedule and judge the result.

    Args:
        seed: the seed of the schedule.
        template: the result of ``make_template_database``.
        folder: an empty one for its files.
    """
    schedule = Schedule(seed)
    file = folder / "aar.db"
    shutil.copy(template, file)
    double = FakeMessagesApi(
        FunctionModel(schedule.play),
        faults=schedule.fault,
        rules=ServerRules(strict=seed % 4 == 0),
        most_logged=100_000,
    )
    outcomes: list[ResearcherOutcome] = []
    with shortened_waits():
        async with serve_app(double) as base_url:
            for how, moment in [*schedule.lives, ("", 0)]:
                outcomes += await _live(schedule, double, base_url, file, how, moment)
    with contextlib.closing(Database(f"sqlite:///{file}")) as db:
        return judge_schedule(seed, schedule.limits, db, double.requests, _who, outcomes)


def _who(body: Any) -> str:
    found = _NAME.search(body["system"][1]["text"])
    assert found is not None
    return f"{CAMPAIGN}-{found[1]}"


async def _live(
    schedule: Schedule, double: FakeMessagesApi, base_url: str, file: Path, how: str, moment: int
) -> list[ResearcherOutcome]:
    """Run one controller's life, to its end or its death."""
    tasks: list[asyncio.Task[ResearcherOutcome]] = []
    stopping, asked = asyncio.Event(), len(double.requests)

    def cut() -> None:
        for task in tasks:
            task.cancel()

    dies_at = moment if how.startswith("kill") else None
    db = CrashingDatabase(f"sqlite:///{file}", dies_at, after_commit=how.endswith("after"), died=cut)
    ledger = Ledger(db, CAMPAIGN, schedule.limits, PriceBook())
    policy = RetryPolicy(deadline=0.4, first=0.005, longest=0.05)
    paces = LimiterPolicy(initial=schedule.dice.randint(1, 8), failures=4, cooldown=0.01, max_cooldown=0.05)
    gateways = [Gateway(base_url, timeout=SILENCE, policy=policy, pacer=AdaptiveLimiter(paces)) for _ in range(2)]
    try:
        with contextlib.suppress(ControllerKilled):
            await ledger.load()
            contexts = [_context(schedule, index, db, ledger, gateways, stopping) for index in range(schedule.team)]
            tasks += [asyncio.create_task(run_researcher(context)) for context in contexts]
            while not all(task.done() for task in tasks):
                await asyncio.wait(tasks, timeout=0.005, return_when=asyncio.ALL_COMPLETED)
                if len(double.requests) - asked >= moment and how in ("cancel", "stop"):
                    stopping.set() if how == "stop" else cut()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException) and not isinstance(error, (ControllerKilled, asyncio.CancelledError)):
                raise error
        return [outcome for outcome in ended if isinstance(outcome, ResearcherOutcome)]
    finally:
        for gateway in gateways:
            await gateway.close()
        db.close()


def _context(
    schedule: Schedule, index: int, db: Database, ledger: Ledger, gateways: list[Gateway], stopping: asyncio.Event
) -> ResearcherContext:
    return ResearcherContext(
        campaign_id=CAMPAIGN,
        researcher_id=f"{CAMPAIGN}-r{index + 1}",
        name=f"r{index + 1}",
        model=schedule.model,
        direction=_Direction(),
        problem=_Problem(),  # type: ignore[arg-type]
        db=db,
        ledger=ledger,
        gateway=gateways[0],
        sandbox=_NoSandbox(),
        snapshots=SnapshotStore(Path(db.engine.url.database or "").parent / "snapshots"),
        scorer=None,  # type: ignore[arg-type]
        stopping=stopping,
        limits=schedule.limits,
        max_output_tokens=schedule.max_output,
        capabilities=capabilities_by_name(schedule.model),
        options=schedule.options,
        fallback=FallbackModel(_FALLBACK, gateways[1]) if schedule.fallback else None,
        context_tokens=50_000,
        patience=4,
    )


class _NoSandbox:
    """A placeholder for a sandbox.

    The called tools need none; a fresh conversation finds no notebook.
    """

    async def current(self) -> Any:
        return self

    async def lost(self, cause: str) -> None:
        raise AssertionError(cause)

    async def read(self, path: str, *, limit: int = 0) -> bytes:
        raise FileNotFoundError(path)
