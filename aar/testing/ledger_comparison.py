"""Comparison of the fake server's bill with the ledger, after a schedule of faults."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from aar.budget.ledger_entries import RESERVED, SETTLED, entry_charge
from aar.budget.limits import Limits
from aar.events import ContextReset, ModelCalled, ModelCallFailed, TurnReceived
from aar.llm.price_book import REGIONAL_SURCHARGE, PriceBook
from aar.researcher.context import ResearcherOutcome
from aar.store.database import Database
from aar.store.event_log import read_events
from aar.store.models import LedgerEntry
from aar.testing.fake_messages_api.app import RecordedExchange

CAMPAIGN = "fa0175"
_MILLION = Decimal(1_000_000)
_NUMBER = re.compile(r"^#(\d+) ")


@dataclass(slots=True)
class ServiceBill:
    """The bill of a service."""

    usd: Decimal = Decimal(0)
    tokens: int = 0
    calls: int = 0

    def __iadd__(self, other: ServiceBill) -> ServiceBill:
        self.usd, self.tokens, self.calls = self.usd + other.usd, self.tokens + other.tokens, self.calls + other.calls
        return self


@dataclass(slots=True)
class ScheduleVerdict:
    """The verdict on a schedule.

    Args:
        overshoot: by limit, the excess of the service's bill over it; never below zero.
        complaints: other violations.
        billed, counted: dollars that the service billed, and that the ledger recorded for it.
        answers: calls with at least the start of a response.
        faults: their counts, by name.
        outcomes: the ends of researchers' lives.
    """

    seed: int
    overshoot: dict[str, Decimal] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    billed: Decimal = Decimal(0)
    counted: Decimal = Decimal(0)
    answers: int = 0
    summaries: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)


def judge_schedule(
    seed: int,
    limits: Limits,
    db: Database,
    exchanges: Iterable[RecordedExchange],
    who: Callable[[Any], str],
    outcomes: Sequence[ResearcherOutcome],
) -> ScheduleVerdict:
    """Compare the service's bill with the ledger.

    Args:
        limits: the limits of the campaign.
        db: the campaign's, after its last life.
        exchanges: all requests to the fake server.
        who: returns the researcher's id from a request's body.
        outcomes: of all lives.
    """
    requests = [each for each in exchanges if each.path == "/v1/messages"]
    begun = [each for each in requests if each.status == 200 and each.answer is not None]
    verdict = ScheduleVerdict(seed, faults=Counter(each.fault for each in requests if each.fault))
    verdict.outcomes = Counter(outcome.reason for outcome in outcomes)
    whole, each_own = ServiceBill(), defaultdict[str, ServiceBill](ServiceBill)
    for exchange in begun:
        bill = price_response(exchange.answer or {})
        whole += bill
        each_own[who(exchange.body)] += bill
        verdict.summaries += len((exchange.answer or {})["usage"].get("iterations") or [0]) - 1
    verdict.billed, verdict.answers = whole.usd, len(begun)
    own = limits.researcher
    _over(verdict, "usd", limits.usd, [whole.usd])
    _over(verdict, "tokens", limits.tokens, [whole.tokens])
    _over(verdict, "researcher.usd", own.usd, [bill.usd for bill in each_own.values()])
    _over(verdict, "researcher.tokens", own.tokens, [bill.tokens for bill in each_own.values()])
    _over(verdict, "researcher.turns", own.turns, [bill.calls for bill in each_own.values()])
    # A researcher gets over a request that was refused as malformed; the benchmark shows how often that was needed.
    verdict.faults["refused as malformed"] += sum(each.status == 400 and not each.fault for each in requests)
    _ledger(verdict, db, whole, each_own)
    _turns(verdict, db, begun, who)
    return verdict


def price_response(answer: Mapping[str, Any]) -> ServiceBill:
    """Price a response by the price library, pass by pass, unrounded."""
    bill = ServiceBill(calls=1)
    regional = REGIONAL_SURCHARGE if answer["usage"].get("inference_geo") == "us" else Decimal(1)
    for part in answer["usage"].get("iterations") or [answer["usage"]]:
        created = part["cache_creation"]
        short, long = created["ephemeral_5m_input_tokens"], created["ephemeral_1h_input_tokens"]
        plain, cached, output = part["input_tokens"], part["cache_read_input_tokens"], part["output_tokens"]
        prompt = plain + cached + short + long
        price = PriceBook().price(answer["model"], prompt)
        bill.usd += (
            plain * price.input
            + short * price.cache_write_5m
            + long * price.cache_write_1h
            + cached * price.cache_read
            + output * price.output
        ) * (regional / _MILLION)
        bill.tokens += prompt + output
    return bill


def _over(verdict: ScheduleVerdict, limit: str, ceiling: Decimal | int | None, used: Iterable[Decimal | int]) -> None:
    if ceiling is not None:
        verdict.overshoot[limit] = max([Decimal(0), *(Decimal(each) - ceiling for each in used)])


def _ledger(verdict: ScheduleVerdict, db: Database, whole: ServiceBill, each_own: Mapping[str, ServiceBill]) -> None:
    with db.reading() as session:
        rows = session.scalars(select(LedgerEntry).where(LedgerEntry.campaign_id == CAMPAIGN)).all()
    charged = defaultdict[str, ServiceBill](ServiceBill)
    for row in rows:
        charge = entry_charge(row)
        charged[str(row.researcher_id)] += ServiceBill(charge.usd, charge.tokens, charge.calls)
        if row.state == RESERVED:
            verdict.complaints.append(f"{row.request_id} is still reserved")
    verdict.counted = sum((bill.usd for bill in charged.values()), Decimal(0))
    for name, bill in each_own.items():
        for what in ("usd", "tokens", "calls"):
            held, billed = getattr(charged[name], what), getattr(bill, what)
            if held < billed:
                verdict.complaints.append(f"{name}: the ledger says {held} {what}, the service billed {billed}")


def _turns(
    verdict: ScheduleVerdict, db: Database, begun: Sequence[RecordedExchange], who: Callable[[Any], str]
) -> None:
    with db.reading() as session:
        events = read_events(session, CAMPAIGN, limit=100_000)
        rows = {row.request_id: row for row in session.scalars(select(LedgerEntry))}
    resets = [e for e in events if isinstance(e.event, ContextReset)]
    called = Counter(e.event.request_id for e in events if isinstance(e.event, ModelCalled))
    ended = Counter(e.event.request_id for e in events if isinstance(e.event, (TurnReceived, ModelCallFailed)))
    verdict.complaints += [f"{key} called {n} times" for key, n in called.items() if n > 1]
    verdict.complaints += [f"{key} ended {n} times" for key, n in ended.items() if n > 1]
    # Requests that come at the same moment may share a number.
    sources = {(who(each.body), each.number): each for each in begun}
    for logged in events:
        turn = logged.event
        if not isinstance(turn, TurnReceived):
            continue
        row = rows.get(turn.request_id)
        if row is None or row.state != SETTLED or row.usd != turn.usd:
            verdict.complaints.append(f"{turn.request_id} was received and is not settled as received")
        if (number := _number(turn.content)) is None:
            continue
        source = sources[str(logged.researcher_id), number]
        bill = price_response(source.answer or {})
        # A wrong report is charged at the worst case.
        most = Decimal("Infinity") if source.fault == "Misreport" else Decimal("0.000001")
        if not Decimal(0) <= turn.usd - bill.usd < most:
            verdict.complaints.append(f"turn {number} cost {bill.usd} and was settled as {turn.usd}")
        if any(e.id > logged.id and e.researcher_id == logged.researcher_id for e in resets):
            continue  # a second fresh conversation begins with the same text
        again = [each.number for each in begun if each.number > number and _same(each, source, who)]
        if again:
            verdict.complaints.append(f"turn {number} was received and asked again at {again}")


def _number(content: Sequence[Mapping[str, Any]]) -> int | None:
    texts = (str(block.get("text")) for block in content if block.get("type") == "text")
    return next((int(found[1]) for text in texts if (found := _NUMBER.match(text))), None)


def _same(one: RecordedExchange, other: RecordedExchange, who: Callable[[Any], str]) -> bool:
    return who(one.body) == who(other.body) and _unmarked(one.body) == _unmarked(other.body)


def _unmarked(body: Mapping[str, Any]) -> list[Any]:
    return [
        (message["role"], [{k: v for k, v in block.items() if k != "cache_control"} for block in message["content"]])
        for message in body["messages"]
    ]
