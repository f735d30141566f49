"""The ledger: reserves money before it is spent, and settles it afterwards.

The one controller of a campaign holds the sums in memory; each reservation and settlement is a row as well, so that a
restart finds the same sums. A check and the counting of what passes it happen under one lock, before the row is
written: two requests can never both take the last cent.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

import anyio
from anyio import CancelScope
from sqlalchemy import Row, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from aar.budget.ledger_entries import (
    LOST,
    MODEL,
    RELEASED,
    RESERVED,
    SETTLED,
    Charge,
    ChargeSums,
    UsedColumns,
    call_columns,
    close_entry,
    insert_reservation,
    recover_open_entries,
    state_of,
    to_milliseconds,
)
from aar.budget.limits import Limits, LimitUsage, check_limits, check_submission_quota, limit_usages
from aar.concurrency import best_effort, log_failure
from aar.errors import Conflict, LimitReached, NotFound
from aar.events import UsageDoubted
from aar.llm.api_errors import StreamInterrupted
from aar.llm.price_book import PriceBook, round_up
from aar.llm.request import SendStatus
from aar.llm.response import CompleteReply
from aar.llm.usage import CallBill, ServedTerms, Usage
from aar.store.database import Database, on_commit
from aar.store.event_log import append_events, read_events
from aar.store.models import Researcher

_MOST_ANSWERING = 8
_MOST_CAUSES = 1000
Kind = Literal["model", "compute", "scoring"]


@dataclass(frozen=True, slots=True)
class WorstCase:
    """The most that a purchase can use: the tokens of a model call, or the core-seconds of a computation.

    Args:
        model: of a call; priced by the price table.
        input_tokens: an upper bound of the prompt's tokens, those of a server-side compaction included.
        output_tokens: the bound sent with the call.
        core_seconds: of a computation, its time limit times its cores.
    """

    kind: Kind
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    core_seconds: float = 0.0


class Bill:
    """The charge of one purchase under way; ``Ledger.metered`` opens and closes it.

    Args:
        ledger: of the campaign.
        request_id: of its reservation.
        researcher_id: pays for it; None for the campaign itself.
        worst: its worst case.
    """

    def __init__(self, ledger: Ledger, request_id: str, researcher_id: str | None, worst: WorstCase) -> None:
        self.request_id = request_id
        self.researcher_id = researcher_id
        self.worst = worst
        self.reserved = False
        """False if ``beside`` cancelled the reservation: then nothing may be bought."""
        self.send_status = SendStatus()
        """For the gateway: a call that was sent may be billed."""
        self.used: CallBill | float | None = None
        """What it used; None as long as that is unknown or nothing."""
        self.started = 0.0
        self.settled = False
        self._ledger = ledger

    @property
    def usage(self) -> Usage:
        """Return the tokens that are charged."""
        return self.used.usage if isinstance(self.used, CallBill) else Usage()

    @property
    def doubts(self) -> tuple[str, ...]:
        """Return the implausible figures of the service's report."""
        return self.used.doubts if isinstance(self.used, CallBill) else ()

    def use(self, used: CompleteReply | StreamInterrupted | float | None) -> None:
        """Set what the purchase used.

        Args:
            used: a model's reply, whole or broken off; core-seconds; None for a call that may be billed without a
                reply, which is charged at its worst case.
        """
        if isinstance(used, (float, int)):
            self.used = used
            return
        worst = Usage(cache_write_1h_tokens=self.worst.input_tokens, output_tokens=self.worst.output_tokens)
        if used is None:
            bill = CallBill(worst, unknown=True)
        elif isinstance(used, StreamInterrupted):
            bill = used.reported.bill_partial(worst, called=self.worst.model, model=used.model)
        else:
            bill = used.reported.bill(called=self.worst.model, model=used.model, content=bool(used.content))
        if used is not None:
            bill = replace(bill, doubts=(*bill.doubts, *self._ledger.doubts(self.worst.model, bill.served)))
        self.used = replace(bill, usage=bill.at_least(worst))

    def settle_in(self, session: Session) -> Decimal:
        """Settle what was used, in the caller's transaction; log each new doubt about it.

        Returns:
            Dollars billed.
        """
        assert self.used is not None, "nothing was used"
        if isinstance(self.used, CallBill):
            seconds = time.monotonic() - self.started
            usd = self._ledger.settle_in(session, self.request_id, self.used, seconds)
            self._ledger.log_doubts_in(session, self)
        else:
            usd = self._ledger.settle_compute_in(session, self.request_id, self.used)
        on_commit(session, self._mark_settled)
        return usd

    def is_open_in(self, session: Session) -> bool:
        """Return True if the reservation is neither settled nor released nor lost."""
        return self._ledger.is_open_in(session, self.request_id)

    def _mark_settled(self) -> None:
        self.settled = True


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
        self._under_way: Counter[tuple[Kind, str | None]] = Counter()
        """Purchases between their reservation and their end, by kind and researcher."""
        self._ended = anyio.Event()
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

    @asynccontextmanager
    async def metered(
        self,
        worst: WorstCase,
        *,
        request_id: str,
        researcher_id: str | None,
        beside: Callable[[Session], bool] | None = None,
        wait: Callable[[LimitReached], Awaitable[None]] | None = None,
        failed: Callable[[Session, BaseException], None] | None = None,
    ) -> AsyncIterator[Bill]:
        """Reserve a purchase's worst case; settle or release it at the end, however it ends.

        A purchase that its user did not settle is settled here at what it used, if that is known. A model call that
        broke off, or that was sent and got no reply, may be billed: it is settled at the most that it can have used.
        Anything else is released. A purchase that cannot be booked stays reserved: see ``write_off``. A model call that
        failed and cannot be booked raises the database's error; any other purchase raises its own.

        Args:
            worst: its worst case.
            request_id: unique.
            researcher_id: pays for it; None for the campaign itself, such as its reviewer.
            beside: called before the reservation, in the same transaction; it cancels the reservation by returning
                False. The rows that it wrote stay, and the bill is not ``reserved``.
            wait: awaited after a refusal, before the next try; it raises the refusal to give up.
            failed: records an error that ended the purchase, in the transaction that settles or releases it.

        Raises:
            LimitReached: the worst case does not fit some limit.
            SpecError: the model has no price.
            Conflict: the request id was used before.
        """
        bill, key = Bill(self, request_id, researcher_id, worst), (worst.kind, researcher_id)
        try:
            while True:
                self._under_way[key] += 1
                try:
                    bill.reserved = await self.reserve(worst, request_id, researcher_id, beside) is not None
                    break
                except LimitReached as refusal:
                    self._under_way[key] -= 1
                    if wait is None:
                        raise
                    await wait(refusal)
                except BaseException:
                    self._under_way[key] -= 1
                    raise
            bill.started = time.monotonic()
            try:
                yield bill
            except Exception as error:
                closing = self._close(bill, error, failed)
                if worst.kind == MODEL:  # an error of the books restarts its researcher, which writes off what is open
                    await closing
                else:  # the purchase's own error matters more
                    await best_effort(closing, log_failure("a charge could not be recorded"))
                raise
            except BaseException as error:
                await best_effort(self._close(bill, error, failed), log_failure("a charge could not be recorded"))
                raise
            else:
                if not bill.settled:
                    await best_effort(self._close(bill, None, failed), log_failure("a charge could not be recorded"))
            finally:
                self._under_way[key] -= 1
        finally:
            self._ended.set()
            self._ended = anyio.Event()

    def under_way(self, kind: Kind, researcher_id: str | None = None) -> int:
        """Return how many purchases of a kind are under way: one researcher's, or all."""
        return sum(
            count
            for (which, whose), count in self._under_way.items()
            if which == kind and researcher_id in (None, whose)
        )

    async def wait_for_end(self) -> None:
        """Wait until a purchase ends."""
        await self._ended.wait()

    async def reserve(
        self,
        worst: WorstCase,
        request_id: str,
        researcher_id: str | None,
        beside: Callable[[Session], bool] | None = None,
    ) -> Charge | None:
        """Reserve a worst case; ``metered`` does so, and settles or releases it too.

        Returns:
            What is reserved; None when ``beside`` cancelled it: the rows that it wrote stay, and nothing is reserved.

        Raises:
            LimitReached, SpecError, Conflict: as in ``metered``.
        """
        charge, columns = self._worst_charge(worst)
        agent_seconds = await self._agent_seconds()
        row = {
            "request_id": request_id,
            "campaign_id": self._campaign_id,
            "researcher_id": researcher_id,
            "kind": worst.kind,
            "state": RESERVED,
            "reserved_usd": charge.usd,
            **columns,
        }
        with self._lock:
            check_limits(self._limits, self._sums, researcher_id, agent_seconds, charge)
            self._sums.add(researcher_id, charge)
        written = False

        def write(session: Session) -> bool:
            def mark() -> None:
                nonlocal written
                written = True
                with self._lock:
                    self._open[request_id] = researcher_id if worst.kind == MODEL else None

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
                    self._sums.add(researcher_id, -charge)
            if isinstance(error, IntegrityError):
                raise Conflict(f"cannot reserve {request_id}: {error.orig}", "Use a fresh request id") from error
            raise
        if made:
            return charge
        with self._lock:
            self._sums.add(researcher_id, -charge)
        return None

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
                "seconds": to_milliseconds(core_seconds) / 1000,
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
        await self._db.read(
            lambda session: check_submission_quota(session, self._campaign_id, researcher_id, self._limits, runs)
        )

    async def limit_usages(self, researcher_id: str | None = None) -> list[LimitUsage]:
        """List the usage of each limit, the researcher's own included."""
        agent_seconds = await self._agent_seconds()
        with self._lock:
            return limit_usages(self._limits, self._sums, researcher_id, agent_seconds)

    def committed(self, researcher_id: str | None = None) -> Charge:
        """Return the spent and reserved sums of the campaign or one researcher."""
        with self._lock:
            return self._sums.campaign if researcher_id is None else self._sums.researchers[researcher_id]

    async def _close(
        self, bill: Bill, error: BaseException | None, failed: Callable[[Session, BaseException], None] | None
    ) -> None:
        if bill.settled or not bill.reserved:
            return
        broken = error if isinstance(error, StreamInterrupted) else None
        if bill.used is None and (broken is not None or bill.send_status.sent):
            bill.use(broken)

        def book(session: Session) -> None:
            if state_of(session, self._campaign_id, bill.request_id) in (SETTLED, RELEASED):
                return  # it was written, but the confirmation got lost
            if bill.used is None:
                self._end(session, bill.request_id, RELEASED, lambda _: {})
            else:
                bill.settle_in(session)
            if failed is not None and error is not None:
                failed(session, error)

        with CancelScope(shield=True):
            await self._db.write(book)

    def log_doubts_in(self, session: Session, bill: Bill) -> None:
        """Log the doubts about a bill, once for each cause and researcher."""
        if not bill.doubts:
            return
        logged = read_events(
            session, self._campaign_id, limit=_MOST_CAUSES, researcher_id=bill.researcher_id, kinds=("usage_doubted",)
        )
        known = {
            each.event.cause
            for each in logged
            if isinstance(each.event, UsageDoubted) and each.researcher_id == bill.researcher_id
        }
        causes = [cause for cause in bill.doubts if cause not in known]
        events = [UsageDoubted(request_id=bill.request_id, cause=cause) for cause in causes]
        append_events(session, self._campaign_id, events, bill.researcher_id)

    def _worst_charge(self, worst: WorstCase) -> tuple[Charge, dict[str, Any]]:
        if worst.kind == MODEL:
            tokens = worst.input_tokens + worst.output_tokens
            served = self._served.get(worst.model, ServedTerms())
            usd = self._prices.worst_case(worst.model, worst.input_tokens, worst.output_tokens, served)
            return Charge(usd, tokens, calls=1), {"model": worst.model, "reserved_tokens": tokens}
        core_ms = to_milliseconds(worst.core_seconds)
        return Charge(self._compute_usd(core_ms), core_ms=core_ms), {"seconds": core_ms / 1000}

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
        query = select(func.sum(Researcher.active_seconds)).where(Researcher.campaign_id == self._campaign_id)
        worked: float | None = await self._db.read(lambda session: session.scalar(query))
        return worked or 0.0
