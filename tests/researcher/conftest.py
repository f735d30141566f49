"""Researchers with a real database, ledger, forum and snapshots, whose model is a script."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session

from aar.budget.ledger import Ledger
from aar.budget.limits import Limits
from aar.llm.api_errors import RetryPolicy
from aar.llm.gateway import Gateway
from aar.llm.price_book import ModelPrice, PriceBook
from aar.problems.protocol import Metric
from aar.researcher.context import ResearcherContext
from aar.sandbox.protocol import ExecResult, ExitReason
from aar.scoring.submissions import SubmissionView, get_submission
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.database import Database
from aar.store.models import Campaign, Researcher

from ..messages_server import MessagesServer

CAMPAIGN = "k3v9qd"
KEY = "sk-test-0123456789-never-to-be-seen"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Workbench:
    """A sandbox and its source in one, for loops whose tools need only files; it counts what was run."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.executed: list[Any] = []
        self.gone: list[str] = []
        self.on_exec: Callable[[], Awaitable[None]] | None = None
        self.output = "ok\n"

    async def current(self) -> Any:
        return self

    async def lost(self, cause: str) -> None:
        self.gone.append(cause)

    async def exec(self, command: Any, **_: Any) -> ExecResult:
        self.executed.append(command)
        if self.on_exec is not None:
            await self.on_exec()
        return ExecResult(ExitReason.EXITED, 0, self.output, 0, 0.01)

    async def read(self, path: str, *, limit: int = 0) -> bytes:
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    async def write(self, path: str, data: bytes) -> None:
        self.files[path] = data


class NoScores:
    """A score source whose scorer never runs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def wait_for(self, submission_number: int, timeout: float) -> SubmissionView:
        await asyncio.sleep(timeout)
        return await self._db.read(lambda session: get_submission(session, CAMPAIGN, submission_number))


@dataclass(frozen=True)
class Direction:
    key: str = "noise"
    text: str = "Think of weak labels\nas a noisy channel."


class Puzzle:
    """What the loop needs of a problem."""

    name = "puzzle"
    metric = Metric("PGR", higher_is_better=True, ceiling=1.0)

    def brief(self) -> str:
        return "Solve the puzzle for $5 or less."


@dataclass
class House:
    """Makes researchers of one campaign."""

    db: Database
    folder: Path
    server: MessagesServer
    bench: Workbench
    gateways: dict[tuple[float, float], Gateway] = field(default_factory=dict)

    def ledger(self, **limits: Any) -> Ledger:
        prices = PriceBook({"m": ModelPrice(*(Decimal(figure) for figure in (4, 20, 5, 8, 1)))})
        return Ledger(self.db, CAMPAIGN, Limits(**{"usd": None, **limits}), prices)

    def gateway(self, deadline: float, timeout: float) -> Gateway:
        policy = RetryPolicy(deadline=deadline, first=0.01)
        fresh = Gateway(self.server.url, SecretStr(KEY), timeout=timeout, policy=policy)
        return self.gateways.setdefault((deadline, timeout), fresh)

    async def context(self, index: int = 1, db: Database | None = None, **changes: Any) -> ResearcherContext:
        ledger = changes.pop("ledger", None) or self.ledger(**changes.pop("limits", {}))
        await ledger.load()
        given: dict[str, Any] = {
            "campaign_id": CAMPAIGN,
            "researcher_id": f"{CAMPAIGN}-r{index}",
            "name": f"r{index}",
            "model": "m",
            "direction": Direction(),
            "problem": Puzzle(),
            "db": db or self.db,
            "ledger": ledger,
            "gateway": self.gateway(changes.pop("deadline", 5.0), changes.pop("timeout", 5.0)),
            "sandbox": self.bench,
            "snapshots": SnapshotStore(self.folder / "snapshots"),
            "scorer": NoScores(self.db),
            "stopping": asyncio.Event(),
            "max_output_tokens": 1000,
        }
        return ResearcherContext(**{**given, **changes})


def add_team(session: Session) -> None:
    """A campaign of two researchers."""
    session.add(Campaign(id=CAMPAIGN, name="test", problem="puzzle", spec={}, state="running", secret="s" * 64))
    session.flush()
    for index in (1, 2):
        session.add(
            Researcher(
                id=f"{CAMPAIGN}-r{index}",
                campaign_id=CAMPAIGN,
                name=f"r{index}",
                index=index,
                direction_key="noise",
                direction="d",
                model="m",
                state="running",
            )
        )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of two researchers who did nothing yet; copy it, for making it takes a while."""
    file = tmp_path_factory.mktemp("database") / "empty.db"
    db = open_database(f"sqlite:///{file}")
    with db.writing() as session:
        add_team(session)
    db.close()
    return file


@pytest.fixture
async def house(empty_database: Path, tmp_path: Path) -> AsyncIterator[House]:
    server = MessagesServer()
    async with server.serving():
        shutil.copy(empty_database, tmp_path / "aar.db")
        house = House(Database(f"sqlite:///{tmp_path / 'aar.db'}"), tmp_path, server, Workbench())
        yield house
        for gateway in house.gateways.values():
            await gateway.close()
        house.db.close()
    assert server.complaints == []
