"""Whatever fifty researchers do at once, and whenever the controller dies, no limit is overshot by a cent."""

import random
import tempfile
from decimal import Decimal
from pathlib import Path

import anyio
import anyio.lowlevel
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from aar.budget.ledger import Ledger, WorstCase
from aar.budget.ledger_entries import sum_charges
from aar.budget.limits import Limits, ResearcherLimits
from aar.errors import LimitReached
from aar.llm.price_book import ModelPrice, PriceBook
from aar.llm.usage import Usage
from aar.store.database import Database

from .conftest import CAMPAIGN, TEAM, make_database

_ODD = PriceBook({"odd": ModelPrice(*(Decimal(price) for price in ("3.1", "15.7", "3.9", "6.2", "0.31")))})
_LIMITS = Limits(
    usd=Decimal("1.00"),
    tokens=150_000,
    core_hours=0.02,
    usd_per_core_hour=Decimal("2.5"),
    researcher=ResearcherLimits(usd=Decimal("0.06"), tokens=9_000, turns=6),
)


class _Boom(Exception):
    pass


class _Team:
    """Fifty researchers on one ledger, each drawing what it does from its own seeded dice."""

    def __init__(self, db: Database, seed: int) -> None:
        self.db = db
        self.seed = seed
        self.life = 0
        self.refusals = 0

    async def live(self, ledger: Ledger, deadline: int) -> None:
        """Work until everybody has finished or, after so many steps of the whole team, everything is cut off."""
        self.life += 1
        self.steps = 0
        async with anyio.create_task_group() as group:
            for researcher_id in TEAM:
                group.start_soon(self._work, ledger, researcher_id, deadline, group.cancel_scope)

    async def _work(self, ledger: Ledger, who: str, deadline: int, everything: anyio.CancelScope) -> None:
        dice = random.Random(f"{self.seed}:{self.life}:{who}")
        for turn in range(4):
            self.steps += 1
            if self.steps == deadline:
                everything.cancel()
            request_id = f"{self.life}:{who}:{turn}"
            try:
                if dice.random() < 0.25:
                    await self._compute(ledger, who, request_id, dice)
                else:
                    await self._call(ledger, who, request_id, dice)
            except LimitReached:
                self.refusals += 1
            except _Boom:
                pass
            self._within(ledger)

    async def _call(self, ledger: Ledger, who: str, request_id: str, dice: random.Random) -> None:
        prompt, output = dice.randrange(4000), dice.randrange(2000)
        await ledger.reserve(WorstCase("model", "odd", prompt, output), request_id, who)
        await anyio.lowlevel.checkpoint()
        match dice.randrange(6):
            case 0:
                await ledger.release(request_id)
            case 1:
                return  # never settled: the worst case stays reserved
            case fate:
                cached = dice.randrange(prompt + 1)
                usage = Usage(prompt - cached, 0, cached, 0, dice.randrange(output + 1))

                def settle(session: Session) -> None:
                    ledger.settle_in(session, request_id, usage, 0.1)
                    if fate == 2:
                        raise _Boom

                await self.db.write(settle)

    async def _compute(self, ledger: Ledger, who: str, request_id: str, dice: random.Random) -> None:
        most = dice.random() * 4
        await ledger.reserve(WorstCase("compute", core_seconds=most), request_id, who)
        await self.db.write(lambda session: ledger.settle_compute_in(session, request_id, most * dice.random()))

    def _within(self, ledger: Ledger) -> None:
        whole = ledger.committed()
        assert whole.usd <= (_LIMITS.usd or 0)
        assert whole.tokens <= (_LIMITS.tokens or 0)
        assert whole.core_ms <= 0.02 * 3_600_000
        for researcher_id in TEAM:
            own = ledger.committed(researcher_id)
            assert own.usd <= Decimal("0.06")
            assert own.tokens <= 9_000
            assert own.calls <= 6


def _same(ledger: Ledger, db: Database) -> None:
    with db.reading() as session:
        table = sum_charges(session, CAMPAIGN)
    assert ledger.committed() == table.campaign
    for researcher_id in TEAM:
        assert ledger.committed(researcher_id) == table.researchers[researcher_id]


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**32), deaths=st.lists(st.integers(1, 220), max_size=3))
def test_fifty_researchers_never_overshoot(seed: int, deaths: list[int]) -> None:
    async def campaign(db: Database) -> int:
        team = _Team(db, seed)
        for deadline in [*deaths, 10**9]:
            ledger = Ledger(db, CAMPAIGN, _LIMITS, _ODD)
            await ledger.load()
            _same(ledger, db)
            await team.live(ledger, deadline)
            _same(ledger, db)
        return team.refusals

    with tempfile.TemporaryDirectory() as folder:
        db = make_database(Path(folder) / "ledger.db")
        try:
            refusals = anyio.run(campaign, db)
        finally:
            db.close()
    assert refusals > 0  # the limits were really under pressure
