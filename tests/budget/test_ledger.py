import asyncio
from collections.abc import Callable
from decimal import Decimal

import anyio
import pytest
from sqlalchemy.orm import Session

from aar.budget.ledger import Ledger, WorstCase
from aar.budget.ledger_entries import Charge, entry_charge, sum_charges
from aar.budget.limits import CAMPAIGN, Limits, ResearcherLimits, check_submission_quota, remedy_for
from aar.budget.totals import read_totals
from aar.errors import Conflict, DatabaseError, LimitReached, NotFound, SpecError
from aar.llm.api_errors import StreamInterrupted
from aar.llm.response import CompleteReply
from aar.llm.usage import ReportedUsage, Usage
from aar.store.database import Database
from aar.store.models import LedgerEntry, Researcher, Submission

pytestmark = pytest.mark.anyio

ONE, TWO = "abc234-r1", "abc234-r2"
Opener = Callable[..., Ledger]


async def _reserve(ledger: Ledger, request_id: str, tokens: int = 10, who: str = ONE) -> None:
    await ledger.reserve(WorstCase("model", "dear", tokens, 0), request_id, who)


async def _settle(ledger: Ledger, db: Database, request_id: str, tokens: int) -> Decimal:
    return await db.write(lambda session: ledger.settle_in(session, request_id, Usage(input_tokens=tokens), 1.5))


async def _same_as_table(ledger: Ledger, db: Database) -> None:
    table = await db.read(lambda session: sum_charges(session, "abc234"))
    assert ledger.committed() == table.campaign
    for researcher_id in (ONE, TWO):
        assert ledger.committed(researcher_id) == table.researchers[researcher_id]


async def test_reserve_then_settle(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger(Limits(usd=Decimal(100)))
    await _reserve(ledger, "a", 60)
    assert ledger.committed() == ledger.committed(ONE) == Charge(Decimal(60), 60, 1)
    assert await _settle(ledger, db, "a", 25) == 25
    assert ledger.committed() == Charge(Decimal(25), 25, 1)
    await _same_as_table(ledger, db)


async def test_the_last_cent_can_be_spent_and_no_more(open_ledger: Opener) -> None:
    ledger = open_ledger(Limits(usd=Decimal(100)))
    await _reserve(ledger, "a", 60)
    with pytest.raises(LimitReached) as refused:
        await _reserve(ledger, "b", 41)
    breach = refused.value.breach
    assert (breach.scope, breach.limit, breach.missing) == ("campaign", "usd", 1)
    assert "limits.usd" in refused.value.remedy
    await _reserve(ledger, "c", 40)


async def test_a_refusal_leaves_nothing_behind(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger(Limits(usd=Decimal(5)))
    with pytest.raises(LimitReached):
        await _reserve(ledger, "a", 6)
    assert ledger.committed() == Charge()
    await _same_as_table(ledger, db)


@pytest.mark.parametrize(
    ("limits", "scope", "name"),
    [
        (Limits(usd=None, tokens=9), "campaign", "tokens"),
        (Limits(usd=None, usd_per_agent_hour=Decimal(9)), "campaign", "usd_per_agent_hour"),
        (Limits(usd=None, researcher=ResearcherLimits(usd=Decimal(9))), ONE, "usd"),
        (Limits(usd=None, researcher=ResearcherLimits(tokens=9)), ONE, "tokens"),
        (Limits(usd=Decimal(9), tokens=9, researcher=ResearcherLimits(usd=Decimal(1))), "campaign", "usd"),
    ],
)
async def test_each_limit_binds_by_its_name(open_ledger: Opener, limits: Limits, scope: str, name: str) -> None:
    with pytest.raises(LimitReached) as refused:
        await _reserve(open_ledger(limits), "a", 10)
    assert (refused.value.breach.scope, refused.value.breach.limit) == (scope, name)


async def test_turns_bind_one_researcher_only_and_releases_do_not_count(open_ledger: Opener) -> None:
    ledger = open_ledger(Limits(usd=None, researcher=ResearcherLimits(turns=1)))
    await _reserve(ledger, "a")
    with pytest.raises(LimitReached, match="turns"):
        await _reserve(ledger, "b")
    await _reserve(ledger, "c", who=TWO)
    await ledger.release("a")
    await _reserve(ledger, "d")


async def test_the_rate_grows_with_hours_worked(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger(Limits(usd=None, usd_per_agent_hour=Decimal(10)))
    await _reserve(ledger, "a", 10)
    with pytest.raises(LimitReached, match="usd_per_agent_hour"):
        await _reserve(ledger, "b", 10)

    with db.writing() as session:
        for researcher_id in (ONE, TWO):
            session.get_one(Researcher, researcher_id).active_seconds = 3600
    await _reserve(ledger, "c", 10)
    [rate] = await ledger.limit_usages()
    assert (rate.limit, rate.committed, rate.left) == ("usd_per_agent_hour", 10, 0)


async def test_compute_is_priced_by_the_hour_and_bounded(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger(Limits(usd=Decimal(3), core_hours=2, usd_per_core_hour=Decimal("1.20")))
    reserved = await ledger.reserve(WorstCase("compute", core_seconds=3600), "a", ONE)
    assert reserved.usd == Decimal("1.2")
    with pytest.raises(LimitReached, match="core_hours"):
        await ledger.reserve(WorstCase("scoring", core_seconds=3601), "b", None)
    assert await db.write(lambda session: ledger.settle_compute_in(session, "a", 30.0004)) == Decimal("0.010000334")
    await ledger.reserve(WorstCase("scoring", core_seconds=7100), "c", None)
    await _same_as_table(ledger, db)
    spent = await db.read(lambda session: read_totals(session, "abc234"))
    assert spent.campaign.compute_usd == spent.campaign.usd == Decimal("0.010000334")
    assert spent.campaign.core_seconds == 30.001
    assert spent.campaign.calls == 0


async def test_a_settlement_above_its_reservation_is_recorded_as_it_is(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger(Limits(usd=Decimal(100)))
    await _reserve(ledger, "a", 90)
    assert await _settle(ledger, db, "a", 120) == 120
    with pytest.raises(LimitReached):
        await _reserve(ledger, "b", 0)
    await _same_as_table(ledger, db)


async def test_settling_twice_bills_once(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger()
    await _reserve(ledger, "a", 10)
    assert await _settle(ledger, db, "a", 4) == await _settle(ledger, db, "a", 9) == 4
    await ledger.release("a")
    assert ledger.committed().usd == 4
    await _same_as_table(ledger, db)


async def test_a_failed_transaction_changes_nothing(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger()
    await _reserve(ledger, "a", 10)

    def settle_and_fail(session: object) -> None:
        ledger.settle_in(session, "a", Usage(input_tokens=4), 1.0)  # type: ignore[arg-type]
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        await db.write(settle_and_fail)
    assert ledger.committed().usd == 10
    assert await _settle(ledger, db, "a", 4) == 4
    assert ledger.committed().usd == 4
    await _same_as_table(ledger, db)


async def test_savepoints_settle_only_with_the_outermost_commit(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger()
    for request_id in ("kept", "dropped"):
        await _reserve(ledger, request_id, 10)
    with db.writing() as session:
        with session.begin_nested():
            ledger.settle_in(session, "kept", Usage(input_tokens=1), 1.0)
        with session.begin_nested() as savepoint:
            ledger.settle_in(session, "dropped", Usage(input_tokens=2), 1.0)
            savepoint.rollback()
        assert ledger.committed().usd == 20
    assert ledger.committed().usd == 11
    await _same_as_table(ledger, db)


async def test_open_reservations_of_a_crash_are_charged_at_their_worst_case(open_ledger: Opener, db: Database) -> None:
    before = open_ledger()
    await _reserve(before, "settled", 10)
    await _settle(before, db, "settled", 3)
    await _reserve(before, "open", 50)
    await _reserve(before, "released", 70)
    await before.release("released")
    await before.reserve(WorstCase("compute", core_seconds=12.5), "job", TWO)

    after = open_ledger()
    assert await after.load() == 2
    assert after.committed() == Charge(Decimal(53), 53, 2, 12_500)
    assert await open_ledger().load() == 0
    spent = (await db.read(lambda session: read_totals(session, "abc234"))).campaign
    assert (spent.usd, spent.lost_usd, spent.lost_tokens, spent.total_tokens) == (53, 50, 50, 53)
    assert await _settle(after, db, "open", 5) == 5
    await _same_as_table(after, db)


async def test_ids_are_used_once_and_campaigns_do_not_mix(open_ledger: Opener, db: Database) -> None:
    ledger, other = open_ledger(), open_ledger(campaign_id="zzz777")
    await _reserve(ledger, "a", 10)
    with pytest.raises(Conflict, match="cannot reserve a"):
        await _reserve(ledger, "a", 10)
    with pytest.raises(NotFound, match="no reservation a in campaign zzz777"):
        await _settle(other, db, "a", 1)
    await other.release("a")
    assert await other.load() == 0
    assert (other.committed().usd, ledger.committed().usd) == (0, 10)
    await _same_as_table(ledger, db)


async def test_a_cancelled_reservation_is_given_back(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await _reserve(ledger, "a", 10)
    assert ledger.committed() == Charge()
    await _same_as_table(ledger, db)


async def test_limits_can_be_changed_while_running(open_ledger: Opener) -> None:
    ledger = open_ledger(Limits(usd=Decimal(5)))
    with pytest.raises(LimitReached):
        await _reserve(ledger, "a", 6)
    await ledger.change_limits(Limits(usd=Decimal(6)))
    await _reserve(ledger, "a", 6)
    await ledger.change_limits(Limits(usd=Decimal(1)))
    with pytest.raises(LimitReached):
        await _reserve(ledger, "b", 0)


async def test_a_model_without_a_price_is_refused_before_anything_is_reserved(open_ledger: Opener) -> None:
    ledger = open_ledger()
    with pytest.raises(SpecError):
        await ledger.reserve(WorstCase("model", "nobody", 1, 1), "a", ONE)
    assert ledger.committed() == Charge()


async def test_submissions_are_counted(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger(Limits(submissions=3, researcher=ResearcherLimits(submissions=2)))

    def hand_in(number: int, who: str) -> None:
        with db.writing() as session:
            check_submission_quota(session, "abc234", who, ledger.limits)
            session.add(
                Submission(
                    campaign_id="abc234",
                    number=number,
                    researcher_id=who,
                    digest="d",
                    title="t",
                    claim="c",
                    state="queued",
                )
            )

    hand_in(1, ONE)
    hand_in(2, ONE)
    with pytest.raises(LimitReached) as refused:
        await ledger.check_submission(ONE)
    assert (refused.value.breach.scope, refused.value.breach.limit) == (ONE, "submissions")
    hand_in(3, TWO)
    with pytest.raises(LimitReached, match="campaign: limit submissions = 3"):
        await ledger.check_submission(TWO)


async def test_totals_name_every_researcher_and_add_up(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger()
    await _reserve(ledger, "a", 10)
    await _settle(ledger, db, "a", 4)
    await _reserve(ledger, "b", 7, who=TWO)
    with db.writing() as session:
        session.get_one(Researcher, ONE).active_seconds = 1800
    spent = await db.read(lambda session: read_totals(session, "abc234"))
    assert len(spent.researchers) == 50
    assert spent.campaign.usd == spent.researchers[ONE].usd == 4
    assert (spent.researchers[TWO].usd, spent.researchers[TWO].reserved_usd, spent.campaign.reserved_usd) == (0, 7, 7)
    assert (spent.campaign.tokens.input_tokens, spent.campaign.calls) == (4, 1)
    assert (spent.campaign.usd_per_agent_hour, spent.researchers[TWO].usd_per_agent_hour) == (8, None)
    with db.reading() as session:
        [settled] = session.query(LedgerEntry).filter_by(request_id="a")
        assert (settled.seconds, settled.state) == (1.5, "settled")


async def test_a_reservation_called_off_leaves_what_was_written_beside_it(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger(Limits(usd=Decimal(100)))

    def change(session: Session) -> bool:
        session.get_one(Researcher, ONE).doing = "reads the news"
        return False

    worst = WorstCase("model", "dear", 60)
    assert await ledger.reserve(worst, "a", ONE, change) is None
    assert ledger.committed() == Charge()
    await _same_as_table(ledger, db)
    assert await db.read(lambda session: session.get_one(Researcher, ONE).doing) == "reads the news"
    assert await ledger.reserve(worst, "a", ONE, lambda _: True) is not None
    assert ledger.committed() == Charge(Decimal(60), 60, 1)


@pytest.mark.parametrize("limit", ["usd", "tokens", "hours", "submissions"])
def test_a_remedy_names_the_flag_that_raises_the_limit(limit: str) -> None:
    assert remedy_for(limit, CAMPAIGN) == f"Raise limits.{limit} (`aar resume --{limit} N`) to go on"
    assert remedy_for(limit, ONE) == f"Raise limits.researcher.{limit} to go on"


REPLY = CompleteReply("dear", [{"type": "text", "text": "x"}], "end_turn", ReportedUsage())
REPLY.reported.take({"input_tokens": 4, "output_tokens": 1})
BROKEN = StreamInterrupted("broke off", ReportedUsage(), "dear")
BROKEN.reported.take({"input_tokens": 7, "output_tokens": 1}, last=False)


@pytest.mark.parametrize(
    ("sent", "used", "error", "state", "tokens"),
    [
        (False, None, NotFound("no route"), "released", 0),
        (False, None, asyncio.CancelledError(), "released", 0),
        (True, None, asyncio.CancelledError(), "settled", 60),
        (True, None, RuntimeError("while it came in"), "settled", 60),
        (True, None, BROKEN, "settled", 17),
        (False, None, BROKEN, "settled", 17),
        (True, REPLY, RuntimeError("while it was recorded"), "settled", 5),
        (True, REPLY, asyncio.CancelledError(), "settled", 5),
        (True, REPLY, None, "settled", 5),
    ],
)
async def test_a_metered_call_is_charged_for_what_may_have_been_billed(
    open_ledger: Opener,
    db: Database,
    sent: bool,
    used: CompleteReply | None,
    error: BaseException | None,
    state: str,
    tokens: int,
) -> None:
    ledger, seen = open_ledger(Limits(usd=Decimal(100))), []

    async def buy() -> None:
        async with ledger.metered(
            WorstCase("model", "dear", 50, 10),
            request_id="a",
            researcher_id=ONE,
            failed=lambda session, error: seen.append((error, session.in_transaction())),
        ) as bill:
            assert (ledger.under_way("model"), ledger.under_way("model", ONE), ledger.under_way("scoring")) == (1, 1, 0)
            bill.send_status.sent = sent
            if used is not None:
                bill.use(used)
            if error is not None:
                raise error

    if error is None:
        await buy()
    else:
        with pytest.raises(type(error)) as raised:
            await buy()
        assert raised.value is error
    assert seen == ([] if error is None else [(error, True)])
    assert ledger.under_way("model") == 0
    [row] = await db.read(lambda session: list(session.query(LedgerEntry)))
    assert (row.state, entry_charge(row).tokens) == (state, tokens)
    assert ledger.committed().tokens == tokens
    await _same_as_table(ledger, db)


async def test_what_its_buyer_settled_is_not_booked_again(open_ledger: Opener, db: Database) -> None:
    ledger = open_ledger(Limits(usd=Decimal(100)))

    async def buy() -> None:
        async with ledger.metered(WorstCase("model", "dear", 50, 10), request_id="a", researcher_id=ONE) as bill:
            bill.use(REPLY)
            assert await db.write(bill.settle_in) == 5
            bill.use(None)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await buy()
    assert ledger.committed().tokens == 5


@pytest.mark.parametrize(("seconds", "state"), [(None, "released"), (12.0, "settled")])
async def test_a_metered_computation_is_charged_by_its_cores(
    open_ledger: Opener, db: Database, seconds: float | None, state: str
) -> None:
    ledger = open_ledger(Limits(core_hours=1))

    async def run() -> None:
        async with ledger.metered(WorstCase("compute", core_seconds=60), request_id="a", researcher_id=ONE) as bill:
            if seconds is not None:
                bill.use(seconds)
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await run()
    assert ledger.committed().core_ms == (seconds or 0) * 1000
    [row] = await db.read(lambda session: list(session.query(LedgerEntry)))
    assert row.state == state
    await _same_as_table(ledger, db)


@pytest.mark.parametrize(
    ("worst", "raised"),
    [
        (WorstCase("model", "dear", 50, 10), DatabaseError),
        (WorstCase("scoring", core_seconds=60), RuntimeError),
        (WorstCase("compute", core_seconds=60), RuntimeError),
    ],
)
async def test_what_cannot_be_booked_stays_reserved_and_a_runs_own_error_counts(
    open_ledger: Opener, db: Database, worst: WorstCase, raised: type[Exception]
) -> None:
    """The database's error of a model call restarts its researcher, which writes the call off."""
    ledger = open_ledger(Limits(usd=Decimal(100), core_hours=1))

    def failed(_session: Session, _error: BaseException) -> None:
        raise DatabaseError("it is away")

    async def buy() -> None:
        async with ledger.metered(worst, request_id="a", researcher_id=ONE, failed=failed):
            raise RuntimeError("the sandbox is gone")

    with pytest.raises(raised):
        await buy()
    [row] = await db.read(lambda session: list(session.query(LedgerEntry)))
    assert row.state == "reserved"
    assert await ledger.write_off() == 1
    [row] = await db.read(lambda session: list(session.query(LedgerEntry)))
    assert row.state == "lost"
    await _same_as_table(ledger, db)


async def test_a_refused_purchase_may_wait_for_the_end_of_others(open_ledger: Opener) -> None:
    ledger, worst = open_ledger(Limits(core_hours=1)), WorstCase("scoring", core_seconds=2000)
    waits: list[int] = []

    async def wait(refusal: LimitReached) -> None:
        waits.append(ledger.under_way("scoring"))
        if not waits[-1]:
            raise refusal
        await ledger.wait_for_end()

    async def run(name: str, seconds: float) -> None:
        async with ledger.metered(worst, request_id=name, researcher_id=ONE, wait=wait) as bill:
            await asyncio.sleep(0.05)
            bill.use(seconds)

    results = await asyncio.gather(*(run(name, 1000.0) for name in "abcd"), return_exceptions=True)
    assert [type(result) for result in results].count(LimitReached) == 2
    assert ledger.committed().core_ms == 2_000_000
    assert (waits[0], waits[-1]) == (1, 0)


async def test_a_purchase_that_is_called_off_reserves_nothing(open_ledger: Opener) -> None:
    ledger = open_ledger(Limits(usd=Decimal(100)))
    async with ledger.metered(
        WorstCase("model", "dear", 50), request_id="a", researcher_id=ONE, beside=lambda _: False
    ) as bill:
        assert not bill.reserved
    assert ledger.committed() == Charge()
