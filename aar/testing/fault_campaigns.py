"""Campaigns under random faults of the service and controller, which must respect all limits.

A schedule is drawn from its seed: a team of real researchers with the real gateway, ledger and SQLite calls the fake
Messages API over HTTP, which refuses, breaks off, stalls, cuts short, summarises; the controller is paused, cut off or
killed, and another one takes over from the log. ``ledger_comparison`` then compares the fake server's bill with the
ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from aar.budget.ledger import Ledger
from aar.budget.limits import Limits, ResearcherLimits
from aar.llm.api_errors import RetryPolicy
from aar.llm.capabilities import capabilities_by_name
from aar.llm.concurrency_limiter import AdaptiveLimiter, LimiterPolicy
from aar.llm.gateway import Gateway
from aar.llm.price_book import PriceBook
from aar.problems.protocol import Metric
from aar.redteam.campaign_rows import add_campaign
from aar.researcher import loop, turn
from aar.researcher.context import FallbackModel, ModelOptions, ResearcherContext, ResearcherOutcome
from aar.researcher.loop import run_researcher
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.database import Database
from aar.testing.fake_messages_api import (
    CutShort,
    Drop,
    FakeMessagesApi,
    Fault,
    FunctionModel,
    HttpError,
    MessagesRequest,
    Misreport,
    ModelReply,
    OtherReply,
    ServerRules,
    Slow,
    Stall,
    StreamError,
    paused_reply,
    refusal_reply,
    serve_app,
    text_block,
    thinking_block,
    tool_use_block,
)
from aar.testing.ledger_comparison import CAMPAIGN, ScheduleVerdict, judge_schedule

_FALLBACK = "claude-haiku-4-5"
_NAME = re.compile(r"^Researcher: (r\d+)$", re.MULTILINE)
_T = TypeVar("_T")
TEAM = 4
"""Researchers of a schedule, at most."""
SILENCE = 0.3
"""Longest silence of a stream in seconds; a stall lasts longer."""
_MODELS = ("claude-opus-5-5", "claude-sonnet-4-6", "claude-sonnet-4-5", "claude-haiku-5-5")


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
    match = _NAME.search(body["system"][1]["text"])
    assert match is not None
    return f"{CAMPAIGN}-{match[1]}"


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
    gateways = [Gateway(base_url, timeout=SILENCE, policy=policy, limiter=AdaptiveLimiter(paces)) for _ in range(2)]
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


class ControllerKilled(BaseException):
    """The simulated death of a controller."""


class CrashingDatabase(Database):
    """A database that dies at its n-th write, before or right after the commit.

    It writes nothing from then on.
    """

    def __init__(self, url: str, dies_at: int | None, *, after_commit: bool, died: Callable[[], None]) -> None:
        super().__init__(url)
        self._left = dies_at
        self._after_commit = after_commit
        self._died = died
        self._dead = False

    async def write(self, fn: Callable[[Session], _T]) -> _T:
        """Write, or die at the chosen write."""
        if self._left is not None and not self._dead:
            self._left -= 1
        last = self._left == 0 and not self._dead
        if self._dead or (last and not self._after_commit):
            self._die()
        result = await super().write(fn)
        if last:
            self._die()
        return result

    def _die(self) -> None:
        self._dead = True
        self._died()
        raise ControllerKilled


class Schedule:
    """The schedule of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = dice = random.Random(seed)  # noqa: S311 - must repeat, protects nothing
        self.model = dice.choice(_MODELS)
        self.team = dice.randint(1, TEAM)
        self.long = dice.random() < 0.3
        """Replies so long that conversations are summarised or handed over."""
        self.faulty = dice.choice([0.0, 0.1, 0.3, 0.6])
        self.max_output = dice.randint(16_000, 24_000) if self.long else dice.randint(300, 4000)
        self.fallback = dice.random() < 0.3
        self.options = ModelOptions(
            context=dice.choice(["auto", "clear", "local"]), cache=dice.choice(["auto", "5m", "1h"])
        )
        also = random.Random(f"usage:{seed}")  # noqa: S311 - must repeat, protects nothing
        self.misreports = also.choice([0.0, 0.0, 0.2, 0.7])
        """Share of complete responses with a wrong usage or model."""
        self.told = {"inference_geo": also.choice(["us", "global"])} if also.random() < 0.5 else {}
        self.lives = [self._life(dice) for _ in range(dice.randint(0, 3))]
        self.limits = self._limits(dice)

    @staticmethod
    def _life(dice: random.Random) -> tuple[str, int]:
        how = dice.choice(["kill before", "kill after", "cancel", "stop"])
        return how, dice.randint(1, 40) if how.startswith("kill") else dice.randint(1, 12)

    def _limits(self, dice: random.Random) -> Limits:
        price = PriceBook().price(self.model)
        # Of the order of one call's worst case, so that every limit is met somewhere.
        prompt = 120_000 if self.long else 40_000
        one = (prompt * price.cache_write_1h + self.max_output * price.output) / 1_000_000

        def usd(most: float) -> Decimal:
            return round(one * Decimal(str(dice.uniform(0.5, most))), 4)

        def maybe(value: _T) -> _T | None:
            return value if dice.random() < 0.5 else None

        return Limits(
            usd=usd((10.0 if self.long else 4.0) * self.team),
            tokens=maybe(dice.randint(prompt // 2, 20 * prompt)),
            researcher=ResearcherLimits(
                usd=maybe(usd(8.0)), tokens=maybe(dice.randint(prompt // 2, 8 * prompt)), turns=dice.randint(1, 10)
            ),
        )

    def play(self, request: MessagesRequest) -> ModelReply:
        """Return the model's reply. Its text names the request."""
        dice = random.Random(f"{self.seed}:{request.number}")  # noqa: S311 - must repeat, protects nothing
        words: list[Any] = [text_block(f"#{request.number} " + "so it goes " * dice.randint(1, 30))]
        if self.long:
            words[0]["text"] += "and on " * dice.randint(6000, 11_000)
        if (request.body.get("thinking") or {}).get("type") == "adaptive" and dice.random() < 0.7:
            words.insert(0, thinking_block("hm, " * dice.randint(1, 300)))
        tools = ("budget", "leaderboard", "post", "nonsense", "finish")
        for tool in dice.choices(tools, [4, 3, 3, 1, 0.4], k=dice.randint(0, 3)):
            given = {"post": {"kind": "insight", "title": "T", "body": "B"}, "finish": {"summary": "done"}}
            words.append(tool_use_block(tool, **given.get(tool, {})))
        if dice.random() < 0.05:
            return paused_reply(words[0])
        raw = '{"limit": ' if dice.random() < 0.05 else None
        return ModelReply(words, raw_input=raw, usage=self.told)

    def fault(self, request: MessagesRequest) -> Fault | None:
        """Return the fault of a request."""
        dice = random.Random(f"fault:{self.seed}:{request.number}")  # noqa: S311 - must repeat, protects nothing
        if dice.random() >= self.faulty:
            return self._misreport(request)
        after = dice.randint(1, 12)
        faults: list[Fault] = [
            HttpError(429, retry_after=dice.choice([0.0, 0.01, 0.05])),
            HttpError(dice.choice([500, 502, 529])),
            HttpError(dice.choice([400, 413]), "prompt is too long: so it is"),
            StreamError(after),
            Drop(None),
            Drop(after),
            Stall(after, 2 * SILENCE),
            Slow(0.001),
            CutShort(dice.randint(1, 400)),
            OtherReply(refusal_reply(f"#{request.number} I must not.")),
            OtherReply(ModelReply([], "end_turn")),
        ]
        return dice.choices(faults, [4, 4, 0.3, 2, 1, 2, 1, 1, 2, 1, 1])[0]

    def _misreport(self, request: MessagesRequest) -> Fault | None:
        dice = random.Random(f"usage:{self.seed}:{request.number}")  # noqa: S311 - must repeat, protects nothing
        if dice.random() >= self.misreports:
            return None
        wrong: Any = dice.choice([None, -3, 12.5, "12", True, [], 0])
        least: dict[str, Any] = {"input_tokens": 0, "output_tokens": 0}
        usage = {"input_tokens": dice.randint(1, 900), "output_tokens": dice.randint(1, 90)}
        shapes: list[Misreport] = [
            Misreport(start=None, end=None),
            Misreport(start={}, end={}),
            Misreport(start=least, end=least),
            Misreport(end=None),
            Misreport(end={**least, "output_tokens": wrong}),
            Misreport(start={**usage, "input_tokens": wrong}, end={"output_tokens": dice.randint(1, 90)}),
            Misreport(start={**usage, "cache_read_input_tokens": 10**7}, end={**usage, "cache_read_input_tokens": 5}),
            Misreport(end={**usage, "iterations": [{"type": "message", "input_tokens": 4}]}),
            Misreport(start="usage", end=[1]),
            Misreport(
                model=dice.choice(["claude-opus-4-1", "claude-haiku-4-5", "somebody-else", f"{self.model}-20260101"])
            ),
            Misreport(start={**usage, "service_tier": "express"}, end={"output_tokens": 5}),
        ]
        return dice.choice(shapes)
