"""What is kept of a ledger between two looks never differs from the ledger itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from aar.budget import totals
from aar.budget.ledger import Ledger, WorstCase
from aar.budget.limits import Limits
from aar.budget.totals import CampaignTotals, read_totals
from aar.llm.price_book import PriceBook
from aar.llm.usage import Usage
from aar.readmodels.progress import read_spending
from aar.redteam.campaign_rows import add_campaign
from aar.store import open_database
from aar.store.column_types import now
from aar.store.database import Database
from aar.store.models import LedgerEntry

from .conftest import DOLLAR_A_TOKEN

pytestmark = pytest.mark.anyio
CAMPAIGN, ONE = "abc234", "abc234-r1"
Opening = Callable[..., Ledger]


async def call(ledger: Ledger, db: Database, name: str, tokens: int) -> None:
    await ledger.reserve(WorstCase("model", "dear", tokens, 0), name, ONE)
    if name != "open":
        await settle(ledger, db, name, tokens)


async def settle(ledger: Ledger, db: Database, name: str, tokens: int) -> None:
    await db.write(lambda session: ledger.settle_in(session, name, Usage(input_tokens=tokens), 1.0))


def told(session: Session) -> tuple[CampaignTotals, float, list[float]]:
    bill = read_spending(session, CAMPAIGN)
    moments = session.scalars(select(LedgerEntry.settled_at).order_by(LedgerEntry.id)).all()
    return read_totals(session, CAMPAIGN), bill.total, [bill.until(at) for at in moments if at is not None]


def both(db: Database) -> tuple[Any, Any]:
    """As readers of the database get it, and as it is without anything kept."""
    with db.reading() as session:
        kept = told(session)
    with Session(db.engine) as session:
        return kept, told(session)


async def test_kept_sums_are_the_ledgers_own(db: Database, open_ledger: Opening) -> None:
    ledger = open_ledger()
    await ledger.load()
    await call(ledger, db, "a", 3)
    await call(ledger, db, "open", 5)
    for name in ("b", "c"):
        kept, fresh = both(db)
        assert kept == fresh
        await call(ledger, db, name, 7)
    kept, fresh = both(db)
    assert kept == fresh
    assert kept[0].campaign.usd == Decimal(17)
    assert kept[0].campaign.reserved_usd == Decimal(5)
    # What was lost in a crash, and then answered after all, moves from one part to the other.
    again = open_ledger()
    await again.load()
    assert both(db)[0] == both(db)[1]
    await settle(again, db, "open", 2)
    kept, fresh = both(db)
    assert kept == fresh
    assert kept[0].campaign.usd == Decimal(19)


async def test_a_clock_that_goes_back_hides_nothing(db: Database, open_ledger: Opening) -> None:
    ledger = open_ledger()
    await ledger.load()
    await call(ledger, db, "a", 3)
    both(db)
    await call(ledger, db, "early", 4)
    with db.writing() as session:
        entry = session.scalars(select(LedgerEntry).where(LedgerEntry.request_id == "early")).one()
        entry.settled_at = now() - timedelta(hours=1)
    kept, fresh = both(db)
    assert kept == fresh
    assert kept[1] == 7


async def test_what_was_settled_is_read_once(
    db: Database, open_ledger: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "_MOST_ANEW", 2)
    ledger = open_ledger()
    await ledger.load()
    for index in range(4):
        await call(ledger, db, f"a{index}", 1)
    read: list[int] = []

    def count() -> int:
        """How often one look sums what was settled long ago."""
        read.clear()

        def rows(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if "settled_at <=" in statement and "sum(" in statement:
                read.append(1)

        event.listen(db.engine, "before_cursor_execute", rows)
        with db.reading() as session:
            read_totals(session, CAMPAIGN)
        event.remove(db.engine, "before_cursor_execute", rows)
        return len(read)

    assert count() == 1
    assert count() == 0
    await call(ledger, db, "b", 1)
    assert count() == 0
    for index in range(2):
        await call(ledger, db, f"c{index}", 1)
    assert count() == 1  # three are more than two: summed anew, and kept
    assert count() == 0


@pytest.mark.postgres
async def test_a_call_settled_between_two_looks_is_in_one_of_them(
    request: pytest.FixtureRequest, postgres_url: str
) -> None:
    db = open_database(postgres_url)
    request.addfinalizer(db.close)
    with db.writing() as session:
        add_campaign(session, CAMPAIGN)
    ledger = Ledger(db, CAMPAIGN, Limits(usd=None), PriceBook({"dear": DOLLAR_A_TOKEN}))
    await ledger.load()
    await ledger.reserve(WorstCase("model", "dear", 5, 0), "a", None)
    settling = False

    def settle_first(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal settling
        if not settling and "sum(" in statement and "state IN" in statement:
            settling = True
            db.write_now(lambda session: ledger.settle_in(session, "a", Usage(input_tokens=5), 1.0))

    event.listen(db.engine, "before_cursor_execute", settle_first)
    with db.reading() as session:
        sums = read_totals(session, CAMPAIGN).campaign
    event.remove(db.engine, "before_cursor_execute", settle_first)
    assert settling
    assert sums.usd + sums.reserved_usd == 5
    assert both(db)[0][0].campaign.usd == 5
