"""Checks the night of ``soak.py``: ledger, submissions, team, machine and report.

The campaign's database is read with sqlite3 itself, so that no code under test vouches for itself.
"""

from __future__ import annotations

import html
import json
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from soak_faults import HOUR, KINDS
from soak_world import Home

_MICRO = Decimal("0.000001")
_NUMBER = re.compile(r"^#(\d+) ")
_BARREN = ("refused", "empty", "thinking only", "paused and empty", "words only", "the same turn again and again")
_DOUBTED = ("usage: ", "another model's name")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault larger than a call: its begin and end, and the team's recovery."""

    name: str
    began: float
    over: float
    recovered: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of the night beside the campaign's database.

    Args:
        faults: faults of the whole campaign.
        heard: the output of commands meanwhile.
        broken: failed expectations.
        events: the event log as people read it, and as programs do.
        left: leftovers that should be gone.
        struck: how often each kind of bad reply came.
        times: how often it should come at least.
        bill: the service's requests and what each costs.
    """

    faults: Sequence[Fault]
    heard: dict[str, str]
    broken: Sequence[str]
    events: str
    left: Sequence[str]
    struck: dict[str, int]
    times: int
    bill: Sequence[dict[str, Any]]


@dataclass(slots=True)
class Call:
    """One row of the ledger."""

    request: str
    researcher: str
    state: str
    usd: Decimal
    at: float
    turn: dict[str, Any] | None = None

    @property
    def number(self) -> int | None:
        """Return the service's number of the request, from the turn's text."""
        texts = (str(block.get("text")) for block in (self.turn or {}).get("content", ()))
        return next((int(found[1]) for text in texts if (found := _NUMBER.match(text))), None)


@dataclass(slots=True)
class Books:
    """The ledger compared with the bill.

    Args:
        pairs: calls of the ledger with the requests that they paid for.
        unpaid: billed requests without a call in the ledger.
        unasked: calls that were charged although the service has no bill for them.
    """

    pairs: list[tuple[Call, dict[str, Any]]] = field(default_factory=list)
    unpaid: list[dict[str, Any]] = field(default_factory=list)
    unasked: list[Call] = field(default_factory=list)


@dataclass(slots=True)
class Holds:
    """Checks with their results and figures.

    Args:
        checks: a text, the result, and the evidence.
        tables: lines by title.
    """

    checks: list[tuple[str, bool, str]] = field(default_factory=list)
    tables: dict[str, list[str]] = field(default_factory=dict)

    def check(self, words: str, good: bool, seen: str) -> None:
        """Add a check."""
        self.checks.append((words, good, seen))

    @property
    def all_hold(self) -> bool:
        """Return True if all checks passed."""
        return all(good for _, good, _ in self.checks)


def judged(home: Home, evidence: Evidence) -> Holds:
    """Check everything."""
    holds = Holds()
    (state, cause), *_ = home.query("select state, cause from campaign") or [("", "no campaign")]
    holds.check("every step went as it should", not evidence.broken, "; ".join(evidence.broken) or "yes")
    holds.check("the campaign finished", state == "finished", f"{state}: {cause}")
    team = home.query("select name, state, cause from researcher order by name")
    lost = [f"{name}: {cause}" for name, state, cause in team if state != "finished"]
    holds.check("no researcher was lost", bool(team) and not lost, f"{len(lost)} of {len(team)} {'; '.join(lost)}")
    _money(holds, home, evidence)
    _submissions(holds, home, evidence)
    holds.check("nothing is left on the machine", not evidence.left, "; ".join(evidence.left[:8]) or "nothing")
    _story(holds, evidence)
    _recoveries(holds, evidence)
    return holds


# Money.


def _money(holds: Holds, home: Home, evidence: Evidence) -> None:
    calls = _calls(home)
    books = reconciled(calls, evidence.bill)
    billed = sum((Decimal(row["usd"]) for row in evidence.bill if row["usd"]), Decimal(0))
    charged = sum((call.usd for call in calls), Decimal(0))
    under = [(call, row) for call, row in books.pairs if call.usd < Decimal(row["usd"])]
    exact = [pair for pair in books.pairs if pair[0].turn is not None and not _doubted(pair[1])]
    off = [(call, row) for call, row in exact if call.usd - Decimal(row["usd"]) >= _MICRO]
    open_ = [call for call in calls if call.state == "reserved"]
    more = sum((call.usd - Decimal(row["usd"]) for call, row in books.pairs), Decimal(0))
    more += sum((call.usd for call in books.unasked), Decimal(0))
    holds.check("every request that was billed is in the ledger", not books.unpaid, f"{len(books.unpaid)} are not")
    holds.check("no call is charged below its bill", not under, f"{len(under)} of {len(books.pairs)} are")
    holds.check("a reply told rightly costs what it was billed", not off, f"{len(off)} of {len(exact)} do not")
    holds.check("nothing stays reserved", not open_, f"{len(open_)} do")
    holds.check(
        "ledger = bill + what is listed below",
        charged - billed == more,
        f"${charged:.4f} = ${billed:.4f} + ${more:.4f}",
    )
    early = [row for row in evidence.bill if row["early"]]
    holds.check("nobody asked before the time that the service named", not early, f"{len(early)} calls did")
    refused = [row for row in evidence.bill if row["refused"]]
    holds.tables["requests that the service's rules refused"] = [f"{r['researcher']}: {r['refused']}" for r in refused]
    listed = defaultdict[str, list[tuple[Decimal, Decimal]]](list)
    for call, row in books.pairs:
        if call.usd - Decimal(row["usd"]) >= _MICRO:
            why = row["kind"] or "cut off: no reply came"
            listed[f"{why} ({'no turn' if call.turn is None else 'worst case'})"].append(
                (call.usd, Decimal(row["usd"]))
            )
    for call in books.unasked:
        listed[f"reserved and {call.state}, never billed"].append((call.usd, Decimal(0)))
    holds.tables["charged above the bill, because a reply or its figures were lost"] = [
        f"{name}: {len(pairs)} calls, ${sum(p[0] for p in pairs):.4f} for ${sum(p[1] for p in pairs):.4f}"
        for name, pairs in sorted(listed.items())
    ]
    barren = sum((call.usd for call, row in books.pairs if row["kind"] in _BARREN), Decimal(0))
    lost = sum((call.usd for call, row in books.pairs if call.turn is None), Decimal(0))
    lost += sum((call.usd for call in books.unasked), Decimal(0))
    holds.tables["dollars spent on nothing"] = [
        f"barren turns ${barren:.4f}; replies that were lost ${lost:.4f}; all that was spent ${charged:.4f}",
        f"per researcher: {_each(calls)}",
    ]


def _each(calls: Sequence[Call]) -> str:
    sums = Counter[str]()
    for call in calls:
        sums[call.researcher] += call.usd  # type: ignore[assignment]
    return ", ".join(f"{name} ${usd:.2f}" for name, usd in sorted(sums.items()))


def _doubted(row: dict[str, Any]) -> bool:
    return str(row["kind"]).startswith(_DOUBTED)


def _calls(home: Home) -> list[Call]:
    turns = {}
    for (payload,) in home.query("select payload from event where kind = 'turn_received'"):
        turn = json.loads(payload)
        turns[turn["request_id"]] = turn
    rows = home.query(
        "select request_id, researcher_id, state, usd, reserved_usd, created_at from ledger_entry "
        "where kind = 'model' and state != 'released' order by id"
    )
    return [
        Call(request, str(who).rpartition("-")[2], state, _usd(used if state == "settled" else most), _epoch(at),
             turns.get(request))
        for request, who, state, used, most, at in rows
    ]  # fmt: skip


def _usd(stored: Any) -> Decimal:
    return Decimal(int(stored)) / 1_000_000_000  # stored in nanodollars


def _epoch(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def reconciled(calls: Sequence[Call], bill: Sequence[dict[str, Any]]) -> Books:
    """Pair calls of the ledger with requests of the bill.

    They match by the number in a turn, else by requester and time.
    """
    books = Books()
    billed = {(row["researcher"], row["number"]): row for row in bill if row["usd"] is not None}
    left: list[Call] = []
    for call in calls:
        row = billed.pop((call.researcher, call.number), None) if call.number is not None else None
        books.pairs.append((call, row)) if row is not None else left.append(call)
    for row in sorted(billed.values(), key=lambda row: row["at"]):
        # A call is reserved, and then asked for, however often, until an answer begins. A turn without words is known
        # by its bill, too.
        mine = [call for call in left if call.researcher == row["researcher"] and call.at <= row["at"] + 0.05]
        mine.sort(key=lambda call: (call.turn is not None and _same_usd(call, Decimal(row["usd"])), call.at))
        if mine:
            left.remove(mine[-1])
            books.pairs.append((mine[-1], row))
        else:
            books.unpaid.append(row)
    books.unasked = left
    return books


def _same_usd(call: Call, usd: Decimal) -> bool:
    return Decimal(0) <= call.usd - usd < _MICRO


# Submissions.


def _submissions(holds: Holds, home: Home, evidence: Evidence) -> None:
    rows = home.query("select number, title, state, verdict from submission order by number")
    honest = [row for row in rows if not row[1].startswith("constant")]
    unscored = [f"s{number} {state}: {verdict}" for number, _, state, verdict in honest if state != "measured"]
    holds.check("every honest submission is scored", bool(honest) and not unscored,
                f"{len(honest) - len(unscored)} of {len(honest)} {'; '.join(unscored[:3])}")  # fmt: skip
    odd = [row for row in rows if row[1].startswith("constant")]
    named = [number for number, *_ in odd if re.search(rf"\bs{number} set aside: ", evidence.events)]
    wrong = [f"s{number} {state}" for number, _, state, _ in odd if state != "rejected"]
    holds.check("each submission over which the problem fails is set aside by name",
                len(odd) >= evidence.times and len(named) == len(odd) and not wrong,
                f"{len(named)} of {len(odd)}, of {len(rows)} in all {'; '.join(wrong)}")  # fmt: skip


# The story.

_CROWDED = r"; try \d+, next in \d+ s"
_TOLD: dict[str, str] = {
    "tool: path below a file": "plain/x: Not a directory",
    "tool: link to itself": "Too many levels of symbolic links",
    "tool: name too long": "File name too long",
    "tool: unreadable method": "/workspace/shut",
    "tool: result has no place": "the complete text could not be stored",
    "tool: NUL in a command": "contains a NUL character",
    "refused": "turn: refusal, ",
    "empty": "turn: end_turn, 1 tokens out",
    "thinking only": "turn: max_tokens, ",
    "paused and empty": "turn: pause_turn, ",
    "words only": "No tool was called",
    "cut within a call": "cut off by the length limit",
    "the same turn again and again": "Again\\.",
    "call ids begin anew": r'"service_ids": ?\{"',
    "one call id twice": r'"service_ids": ?\{"',
    "unknown block": "A block of kind stage_direction was left out",
    "input: NaN": "_not_valid_json.*NaN",
    "input: half a character": r"echo (\\ufffd|\ufffd)",
    "input: deep": r"_not_valid_json.*\[\[\[\[",
    "input: number of 5,000 digits": "_not_valid_json.*99999",
    "input: not JSON": "_not_valid_json",
    "a message is not taken back": "context handed over: refused by the service",
    "too long, in other words": "context handed over: too long for the model",
    # told at the first try that fails, and then once a minute, whatever the next ones meet
    "overloaded (529)": _CROWDED,
    "rate limit, come back in 3 s": _CROWDED,
    "server error (500)": _CROWDED,
    "overload as first event": _CROWDED,
    "rate limit as first event": _CROWDED,
    "a proxy's page (200)": _CROWDED,
    "a proxy's page (502)": _CROWDED,
    "empty body": _CROWDED,
    # these two are taken as the whole replies that they are
    "no stream but a message": "turn: tool_use",
    "error after the end": "turn: tool_use",
    "error in mid-stream": "model call failed: the service failed in mid-stream",
    "lost before the response": "model call failed: connection to .* lost",
    "lost in mid-stream": "model call failed: stream from .* broke",
    "silent, then lost": "model call failed: stream from .* broke",
    "usage: none": r"usage figures cannot be right \(figures are missing",
    "usage: zeros": r"usage figures cannot be right \(a figure is zero",
    "usage: negative": r"usage figures cannot be right \(a figure is negative",
    "usage: fractions": r"usage figures cannot be right \(a figure is not a whole number",
    "usage: words": r"usage figures cannot be right \(a figure is not a whole number",
    "usage: shrinks": r"usage figures cannot be right \(a figure shrank",
    "another model's name": r'"model": ?"claude-opus-4-1"',
}
"""What the event log says of each kind, in the lines that people read or in those for programs."""
_HEARD = {
    "a dead controller": r"(?s)\bcontroller\b.*\bresume\b",
    "an outage": r"try \d+, next in",
    "an engine that is away": r"Docker engine",
}
_AT_LARGE = {
    "controller killed": r"controller started",
    "service away": r"cannot reach \S+; try \d+, next in",
    "service away for longer than patience": r"campaign paused: .*cannot reach",
    "service asks for an hour": r"the service asks for a pause until",
    "disk full": r"disk (?:is )?full",
    "disk full, and nobody wrote": "",
    "Docker engine restarts": r"Docker engine failed .*try 1, next in",
    "sandbox killed": r"sandbox .*lost",
}

_REPORTED = {
    **_AT_LARGE,
    "controller killed": "the controller died; another one resumed the campaign",
    "service away": "the model service was unavailable: cannot reach",
    "Docker engine restarts": "Docker engine failed",
}
_ANSWERED = ("model call failed", "usage figures", "context handed over")
_IN_REPORT = [kind for kind, words in _TOLD.items() if words.startswith(_ANSWERED)]


def _story(holds: Holds, evidence: Evidence) -> None:
    wanted = dict.fromkeys(KINDS, evidence.times)
    rare = [f"{kind}: {evidence.struck.get(kind, 0)}" for kind, n in wanted.items() if evidence.struck.get(kind, 0) < n]
    if evidence.times > 1 and evidence.struck.get(HOUR, 0) < evidence.times:
        rare.append(f"{HOUR}: {evidence.struck.get(HOUR, 0)}")
    holds.check(
        f"each kind of bad reply came {evidence.times} times", not rare,
        f"{len(wanted) - len(rare)} of {len(wanted)} kinds {'; '.join(rare)}",
    )  # fmt: skip
    # What came while everything was down may have been lost with the controller, before anybody could write it down.
    seen = {row["kind"] for row in evidence.bill if not _overlaps(row["at"] - 2, row["at"] + 5, evidence)}
    untold = [kind for kind in KINDS if kind in seen and not re.search(_TOLD[kind], evidence.events, re.MULTILINE)]
    untold += [
        fault.name for fault in evidence.faults if not re.search(_AT_LARGE[fault.name], evidence.events, re.MULTILINE)
    ]
    holds.check("the event log names what went wrong", not untold, "; ".join(dict.fromkeys(untold)) or "all of it")
    report = html.unescape(evidence.heard.get("the report", ""))
    absent = [fault.name for fault in evidence.faults if not re.search(_REPORTED[fault.name], report)]
    absent += [kind for kind in _IN_REPORT if kind in seen and not re.search(_TOLD[kind], report)]
    holds.check("the report names what went wrong", not absent, "; ".join(dict.fromkeys(absent)) or "all of it")
    silent = [
        what for what, words in _HEARD.items() if what in evidence.heard and not re.search(words, evidence.heard[what])
    ]
    holds.check("people are told while it happens", not silent, "; ".join(silent) or ", ".join(evidence.heard))


# Recovery.


def _overlaps(began: float, ended: float, evidence: Evidence) -> bool:
    return any(began < each.recovered and ended > each.began for each in evidence.faults)


def recoveries(evidence: Evidence) -> Iterator[tuple[str, float]]:
    """Return the seconds from each bad reply to the researcher's next good one.

    Times with a larger fault are left out.
    """
    team = defaultdict[str, list[dict[str, Any]]](list)
    for row in sorted(evidence.bill, key=lambda row: row["at"]):
        team[row["researcher"]].append(row)
    for rows in team.values():
        for index, row in enumerate(rows):
            if not row["kind"]:
                continue
            good = (later["done"] for later in rows[index + 1 :] if not later["kind"] and later["done"])
            until = next(good, 0.0)
            if until and not _overlaps(row["at"], until, evidence):
                yield row["kind"], until - row["at"]


def _recoveries(holds: Holds, evidence: Evidence) -> None:
    seconds = defaultdict[str, list[float]](list)
    for kind, took in recoveries(evidence):
        seconds[kind].append(took)
    every = [took for each in seconds.values() for took in each]
    lines = [
        f"{kind:<40} {len(took):>3} x  p50 {statistics.median(took):5.1f} s  worst {max(took):5.1f} s"
        for kind, took in ((kind, seconds[kind]) for kind in [*KINDS, HOUR])
        if took
    ]
    if every:
        lines.append(f"all {len(every)}: p50 {statistics.median(every):.1f} s, worst {max(every):.1f} s")
    holds.tables["from a bad reply to the researcher's next good one"] = lines
    holds.tables["from the end of what struck everybody to the first good reply"] = [
        f"{fault.name}: {fault.over - fault.began:.0f} s long, then {fault.recovered - fault.over:.1f} s"
        for fault in evidence.faults
    ]


def show(holds: Holds) -> None:
    """Print all results."""
    for title, lines in holds.tables.items():
        print(f"\n{title}:")
        for line in lines or ["none"]:
            print(f"  {line}")
    print()
    for words, good, seen in holds.checks:
        print(f"{'holds' if good else 'FAILS'}: {words}: {seen}")
