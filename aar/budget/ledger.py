"""The ledger: reserves money before it is spent, and settles it afterwards.

The one controller of a campaign holds the sums in memory; each reservation and settlement is a row as well, so that a
restart finds the same sums. A check and the counting of what passes it happen under one lock, before the row is
written: two requests can never both take the last cent.

A row is reserved, then settled, released, or lost: a crash cut the call off.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Literal, cast

from anyio import CancelScope
from sqlalchemy import Row, Table, bindparam, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from aar.budget.limits import (
    LOST,
    MODEL,
    RELEASED,
    RESERVED,
    SETTLED,
    Charge,
    ChargeSums,
    Limits,
    LimitUsage,
    check_limits,
    check_submission_quota,
    entry_charge,
    limit_usages,
    sum_charges,
    to_milliseconds,
)
from aar.concurrency import best_effort, log_failure
from aar.errors import Conflict, NotFound
from aar.events import UsageDoubted
from aar.llm.api_errors import StreamInterrupted
from aar.llm.price_book import PriceBook, round_up
from aar.llm.request import ModelRequest
from aar.llm.response import CompleteReply
from aar.llm.usage import CallBill, ServedTerms, Usage
from aar.store.column_types import now
from aar.store.database import Database, on_commit
from aar.store.event_log import read_events
from aar.store.models import LedgerEntry, Researcher

_MOST_ANSWERING = 8


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reserved worst case, open until ``request_id`` is settled or released.

    It holds dollars, tokens and core-seconds.
    """

    request_id: str
    usd: Decimal
    tokens: int = 0
    core_seconds: float = 0.0


class Ledger:
    """The spending, reservations and limits of one campaign.

    Args:
        db: each reservation becomes a row in it.
        campaign_id: the ledger's campaign.
        limits: in force until ``change_limits``.
        prices: of every model that will be called.
    """

    def __init__(self, db: Database, campaign_id: str, limits: Limits, prices: PriceBook) -> None:
        self._db = db
        self._campaign_id = campaign_id
        self._limits = limits
        self._prices = prices
        self._sums = ChargeSums()
        self._open: dict[str, str | None] = {}
        """The open reservations of this ledger with their researchers; None if it is not a researcher's model call."""
        self._served: dict[str, ServedTerms] = {}
        """By model, the more expensive models and tiers that served some of its calls."""
        self._lock = threading.Lock()

    @property
    def limits(self) -> Limits:
        """Return the current limits."""
        return self._limits

    async def change_limits(self, new: Limits) -> None:
        """Change the limits; existing reservations stay."""
        with self._lock:
            self._limits = new

    async def load(self) -> int:
        """Recover the campaign's rows; call once, before this controller's first reservation.

        Returns:
            The number of reservations that a former controller left open. Their cost is unknown, so they become "lost"
            and stay charged at their worst case.
        """

        lost, sums = await self._db.write(lambda session: recover_open_entries(session, self._campaign_id))
        with self._lock:
            self._sums = sums
        return lost

    async def write_off(self, researcher_id: str | None = None) -> int:
        """Charge all open reservations at their worst case, as after a crash.

        Call at the campaign's end.

        Args:
            researcher_id: only the model calls of this one; call when it has none under way.

        Returns:
            How many reservations were open.
        """
        with self._lock:
            left = sorted(name for name, whose in self._open.items() if researcher_id in (None, whose))

        def lose(session: Session) -> None:
            for request_id in left:
                self._end(session, request_id, LOST, lambda entry: {"usd": entry.reserved_usd})

        if left:
            await self._db.write(lose)
        return len(left)

    def doubts(self, model: str, served: ServedTerms) -> tuple[str, ...]:
        """Return the parts of a call's service that have no known price."""
        return self._prices.doubts(model, served)

    async def reserve_call(
        self,
        *,
        request_id: str,
        researcher_id: str | None,
        model: str,
        input_tokens: int,
        max_output_tokens: int,
        beside: Callable[[Session], bool] | None = None,
    ) -> Reservation | None:
        """Reserve a model call's worst case.

        Args:
            request_id: unique; settles or releases the reservation later.
            researcher_id: the caller; None for the campaign itself, such as its reviewer.
            model: priced by the price table.
            input_tokens: an upper bound of the prompt's tokens, those of a server-side compaction included.
            max_output_tokens: the bound sent with the call.
            beside: called before the reservation, in the same transaction; it cancels the reservation by returning
                False.

        Returns:
            The reservation; None when ``beside`` cancelled it: the rows that it wrote stay, and nothing is reserved.

        Raises:
            LimitReached: the worst case does not fit some limit.
            SpecError: the model has no price.
            Conflict: the request id was used before.
        """
        tokens = input_tokens + max_output_tokens
        served = self._served.get(model, ServedTerms())
        worst = Charge(self._prices.worst_case(model, input_tokens, max_output_tokens, served), tokens, calls=1)
        row = {"model": model, "reserved_tokens": tokens}
        made = await self._reserve(request_id, researcher_id, MODEL, worst, row, beside)
        return Reservation(request_id, worst.usd, tokens) if made else None

    async def reserve_compute(
        self,
        *,
        request_id: str,
        researcher_id: str | None,
        kind: Literal["compute", "scoring"],
        core_seconds: float,
    ) -> Reservation:
        """Reserve a computation's worst case: its time limit times its cores.

        Raises:
            LimitReached, Conflict: as for a call.
        """
        core_ms = to_milliseconds(core_seconds)
        worst = Charge(self._compute_usd(core_ms), core_ms=core_ms)
        await self._reserve(request_id, researcher_id, kind, worst, {"seconds": core_ms / 1000})
        return Reservation(request_id, worst.usd, core_seconds=core_ms / 1000)

    def settle_in(self, session: Session, request_id: str, used: Usage | CallBill, seconds: float) -> Decimal:
        """Settle a call: replace its worst case by its usage, in the caller's transaction.

        Settling again changes nothing. Usage above the reservation is recorded as it is; a doubtful bill is never
        settled below it.

        Args:
            session: in a write transaction; the running sums follow when it commits.
            request_id: of the reservation.
            used: as the reply reports it.
            seconds: waited for the reply.

        Returns:
            Dollars billed.

        Raises:
            NotFound: no such reservation in this campaign.
        """

        bill = used if isinstance(used, CallBill) else CallBill(used)

        def use(entry: Row[Any]) -> dict[str, Any]:
            usd, usage = self._prices.cost(entry.model, bill.usage, bill.served), bill.usage
            if bill.is_worst_case:
                usd = max(usd, entry.reserved_usd)
                missing = max(entry.reserved_tokens - usage.total, 0)
                usage = replace(usage, input_tokens=usage.input_tokens + missing)
            if bill.served != ServedTerms():
                on_commit(session, lambda: self._record_served_terms(entry.model, bill.served))
            return {"usd": usd, **call_columns(usage, seconds)}

        return self._end(session, request_id, SETTLED, use)

    def _record_served_terms(self, model: str, served: ServedTerms) -> None:
        before = self._served.get(model, ServedTerms())
        self._served[model] = ServedTerms(
            models=tuple(dict.fromkeys([*before.models, *served.models]))[-_MOST_ANSWERING:],
            regional=before.regional or served.regional,
            fast=before.fast or served.fast,
        )

    def settle_compute_in(self, session: Session, request_id: str, core_seconds: float) -> Decimal:
        """Settle a computation by its core-seconds; otherwise like ``settle_in``."""

        def use(_: Row[Any]) -> dict[str, Any]:
            return {
                "usd": self._compute_usd(to_milliseconds(core_seconds)),
                **compute_columns(core_seconds),
            }

        return self._end(session, request_id, SETTLED, use)

    def is_open_in(self, session: Session, request_id: str) -> bool:
        """Return True if a reservation is neither settled nor released nor lost."""
        return state_of(session, self._campaign_id, request_id) == RESERVED

    async def release(self, request_id: str) -> None:
        """Release a reservation that was not billed; a settled or unknown one stays."""

        def give_back(session: Session) -> None:
            try:
                self._end(session, request_id, RELEASED, lambda _: {})
            except NotFound:
                return

        await self._db.write(give_back)

    async def check_submission(self, researcher_id: str, runs: int = 0) -> None:
        """Check that one more submission, with its scoring runs, fits the limits.

        Raises LimitReached.
        """
        await self._db.read(lambda session: self.check_submission_in(session, researcher_id, runs))

    def check_submission_in(self, session: Session, researcher_id: str, runs: int = 0) -> None:
        """Check a submission inside its own transaction, so that no other comes between.

        Raises LimitReached.
        """
        check_submission_quota(session, self._campaign_id, researcher_id, self._limits, runs)

    async def limit_usages(self, researcher_id: str | None = None) -> list[LimitUsage]:
        """List the usage of each limit, the researcher's own included."""
        agent_seconds = await self._agent_seconds()
        with self._lock:
            return limit_usages(self._limits, self._sums, researcher_id, agent_seconds)

    def committed(self, researcher_id: str | None = None) -> Charge:
        """Return the spent and reserved sums of the campaign or one researcher."""
        with self._lock:
            return self._sums.campaign if researcher_id is None else self._sums.researchers[researcher_id]

    async def _reserve(
        self,
        request_id: str,
        researcher_id: str | None,
        kind: str,
        worst: Charge,
        columns: Mapping[str, Any],
        beside: Callable[[Session], bool] | None = None,
    ) -> bool:
        agent_seconds = await self._agent_seconds()
        row = {
            "request_id": request_id,
            "campaign_id": self._campaign_id,
            "researcher_id": researcher_id,
            "kind": kind,
            "state": RESERVED,
            "reserved_usd": worst.usd,
            **columns,
        }
        with self._lock:
            check_limits(self._limits, self._sums, researcher_id, agent_seconds, worst)
            self._sums.add(researcher_id, worst)
        written = False

        def write(session: Session) -> bool:
            def mark() -> None:
                nonlocal written
                written = True
                with self._lock:
                    self._open[request_id] = researcher_id if kind == MODEL else None

            if beside is not None and not beside(session):
                return False
            on_commit(session, mark)
            insert_reservation(session, row)
            return True

        try:
            made = await self._db.write(write)
        except BaseException as error:
            if written:  # cancelled while the row was being committed: no call will follow
                with CancelScope(shield=True):  # one that stays is charged at its worst case: see write_off
                    await best_effort(self.release(request_id), log_failure("a reservation could not be released"))
            else:
                with self._lock:
                    self._sums.add(researcher_id, -worst)
            if isinstance(error, IntegrityError):
                raise Conflict(f"cannot reserve {request_id}: {error.orig}", "Use a fresh request id") from error
            raise
        if not made:
            with self._lock:
                self._sums.add(researcher_id, -worst)
        return made

    def _end(self, session: Session, request_id: str, state: str, use: UsedColumns) -> Decimal:
        entry, change = close_entry(session, self._campaign_id, request_id, state, use)
        researcher_id = entry.researcher_id

        def count() -> None:
            with self._lock:
                self._sums.add(researcher_id, change)
                self._open.pop(request_id, None)

        on_commit(session, count)
        return Decimal(entry.usd)

    def _compute_usd(self, core_ms: int) -> Decimal:
        return round_up(self._limits.usd_per_core_hour * core_ms / 3_600_000)

    async def _agent_seconds(self) -> float:
        if self._limits.usd_per_agent_hour is None:
            return 0.0
        return await self._db.read(lambda session: total_agent_seconds(session, self._campaign_id))


_KINDS = ("usage_doubted",)
_MOST_CAUSES = 1000


def bill_for_reply(ledger: Ledger, request: ModelRequest, reply: CompleteReply) -> CallBill:
    """Return the charge of a complete reply."""
    bill = reply.reported.bill(asked=request.model, model=reply.model, content=bool(reply.content))
    return _with_price_doubts(ledger, request, bill)


def bill_for_partial_reply(ledger: Ledger, request: ModelRequest, broken: StreamInterrupted, worst: Usage) -> CallBill:
    """Return the charge of a reply that broke off.

    Args:
        worst: the most that it can have used.
    """
    bill = broken.reported.bill_partial(worst, asked=request.model, model=broken.model)
    return _with_price_doubts(ledger, request, replace(bill, usage=bill.at_least(worst)))


def doubt_events(
    session: Session, campaign_id: str, researcher_id: str | None, request_id: str, bill: CallBill
) -> list[UsageDoubted]:
    """Build the events for doubtful bills, once for each cause and researcher."""
    if not bill.doubts:
        return []
    told = {
        logged.event.cause
        for logged in read_events(session, campaign_id, limit=_MOST_CAUSES, researcher_id=researcher_id, kinds=_KINDS)
        if isinstance(logged.event, UsageDoubted) and logged.researcher_id == researcher_id
    }
    return [UsageDoubted(request_id=request_id, cause=cause) for cause in bill.doubts if cause not in told]


def _with_price_doubts(ledger: Ledger, request: ModelRequest, bill: CallBill) -> CallBill:
    return replace(bill, doubts=(*bill.doubts, *ledger.doubts(request.model, bill.served)))


UsedColumns = Callable[[Row[Any]], Mapping[str, Any]]
"""From a reservation's row to the columns of its usage."""

# Core statements: two rows a turn through the unit of work cost more than the rest of the transaction.
_TABLE = cast(Table, LedgerEntry.__table__)
_INSERT = _TABLE.insert()
_UPDATE = _TABLE.update().where(_TABLE.c.request_id == bindparam("ended"))
_SELECT = (
    select(*_TABLE.c)
    .where(_TABLE.c.request_id == bindparam("request"), _TABLE.c.campaign_id == bindparam("campaign"))
    .with_for_update()
)


def insert_reservation(session: Session, row: Mapping[str, Any]) -> None:
    """Insert a reservation. Raises IntegrityError if its request id was used before."""
    session.flush()
    session.connection().execute(_INSERT, row)


def state_of(session: Session, campaign_id: str, request_id: str) -> str | None:
    """Return the state of a reservation; None if there is none."""
    query = select(LedgerEntry.state).where(
        LedgerEntry.request_id == request_id, LedgerEntry.campaign_id == campaign_id
    )
    return session.scalar(query)


def recover_open_entries(session: Session, campaign_id: str) -> tuple[int, ChargeSums]:
    """Mark open reservations as lost; returns their number and all sums.

    They are charged at their worst case.
    """
    orphans = session.scalars(
        select(LedgerEntry).where(LedgerEntry.campaign_id == campaign_id, LedgerEntry.state == RESERVED)
    ).all()
    for orphan in orphans:
        orphan.state, orphan.usd, orphan.settled_at = LOST, orphan.reserved_usd, now()
    session.flush()
    return len(orphans), sum_charges(session, campaign_id)


def close_entry(
    session: Session, campaign_id: str, request_id: str, state: str, use: UsedColumns
) -> tuple[Any, Charge]:
    """Settle or release a reservation.

    Returns:
        The row after that, and the change of its charge: nothing when it was settled before or is in
        ``state`` already.

    Raises:
        NotFound: the campaign has no such reservation.
    """
    session.flush()
    connection = session.connection()
    row = connection.execute(_SELECT, {"request": request_id, "campaign": campaign_id}).one_or_none()
    if row is None:
        raise NotFound(f"no reservation {request_id} in campaign {campaign_id}")
    if row.state in (SETTLED, state):
        return row, Charge()
    changed = {**use(row), "state": state, "settled_at": now()}
    connection.execute(_UPDATE, {**changed, "ended": request_id})
    entry = SimpleNamespace(**{**row._mapping, **changed})
    return entry, entry_charge(entry) - entry_charge(row)


def call_columns(usage: Usage, seconds: float) -> dict[str, Any]:
    """Return the columns of a call's usage."""
    return {
        "input_tokens": usage.input_tokens,
        "cache_write_5m_tokens": usage.cache_write_5m_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens,
        "server_tool_uses": usage.server_tool_uses,
        "seconds": seconds,
    }


def compute_columns(core_seconds: float) -> dict[str, Any]:
    """Return the columns of a computation's usage."""
    return {"seconds": to_milliseconds(core_seconds) / 1000}


def total_agent_seconds(session: Session, campaign_id: str) -> float:
    """Return the seconds worked by all researchers of a campaign together."""
    worked = session.scalar(select(func.sum(Researcher.active_seconds)).where(Researcher.campaign_id == campaign_id))
    return float(worked or 0.0)
