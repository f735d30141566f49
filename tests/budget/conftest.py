from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from aar.budget.ledger import Ledger
from aar.budget.limits import Limits
from aar.llm.price_book import ModelPrice, PriceBook
from aar.store.database import Database
from aar.store.models import Base, Campaign, Researcher

CAMPAIGN = "abc234"
TEAM = [f"{CAMPAIGN}-r{index}" for index in range(1, 51)]
DOLLAR_A_TOKEN = ModelPrice(*(Decimal(1_000_000) for _ in range(5)))
"""A million dollars per million tokens: dollars and tokens are the same number."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = make_database(tmp_path / "budget.db")
    yield opened
    opened.close()


@pytest.fixture
def open_ledger(db: Database) -> Callable[..., Ledger]:
    def opening(limits: Limits | None = None, campaign_id: str = CAMPAIGN) -> Ledger:
        book = PriceBook({"dear": DOLLAR_A_TOKEN})
        return Ledger(db, campaign_id, limits or Limits(usd=None), book)

    return opening


def make_database(file: Path) -> Database:
    opened = Database(f"sqlite:///{file}")
    Base.metadata.create_all(opened.engine)
    with opened.writing() as session:
        for campaign_id in (CAMPAIGN, "zzz777"):
            session.add(Campaign(id=campaign_id, name="t", problem="p", spec={}, state="running", secret="s"))
        session.flush()
        for index, researcher_id in enumerate(TEAM, start=1):
            session.add(
                Researcher(
                    id=researcher_id,
                    campaign_id=CAMPAIGN,
                    name=f"r{index}",
                    index=index,
                    direction_key="d",
                    direction="d",
                    model="dear",
                    state="running",
                )
            )
    return opened
