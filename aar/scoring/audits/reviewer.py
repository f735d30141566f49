"""The reviewer audit: a model reads a method's frozen code against a rubric.

The rubric is the same for every review, so the service has it in its prompt cache; the method is in the one message
after it, as untrusted text: numbered lines, truncated, inside a random delimiter that its content cannot forge. The
answer is a forced tool call, and its quotes are checked against the code.
"""

from __future__ import annotations

import secrets
import stat
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aar.budget.ledger import Ledger, WorstCase
from aar.errors import DatabaseError, GatewayError, LimitReached, SetupError, UsageError
from aar.llm.content import TRUNCATED_STOP_REASONS
from aar.llm.gateway import Gateway
from aar.llm.request import FIXED_TOKENS, ModelRequest, token_upper_bound
from aar.llm.response import CompleteReply
from aar.problems.protocol import Problem
from aar.scoring.audits.protocol import AuditInput, AuditResult, AuditStage, AuditVerdict
from aar.scoring.method_manifest import ENTRY_POINT, MANIFEST_FILE
from aar.scoring.phases import Phase
from aar.store.database import Database
from aar.text import clean_line, clean_text, shorten

REVIEWER_AUDIT: Final = "reviewer"
VERDICT_TOOL: Final = "verdict"
_LONGEST_REASON = 800
_MOST_QUOTES = 8
_RULES = ("injection", "answers", "leak", "clean-room", "state", "seed", "harness", "obfuscated", "claim")
_ONLY_FLAGGED = frozenset({"claim"})
MAX_OUTPUT_TOKENS = 2000
NO_MODEL = (
    "Not reviewed: the campaign calls no Claude model (its team is the offline search baseline, or there is no key)."
)
MAX_LISTING_CHARACTERS = 60_000
"""Characters of a method that are shown; the rest is named and left out."""
_LONGEST_LINE = 2000
_LONGEST_FILE = 4 * 1024**2
_NEAR = 2
"""Lines by which a quote may be off: models miscount."""


class Reviewer:
    """Asks a model about a submission at its confirmation.

    Args:
        db: where the call is settled.
        ledger: pays for the call, on the campaign's account, not on a researcher's.
        model: model id; None if the campaign calls none; every review is then skipped.
        gateway: the open gateway of a model.
    """

    name = REVIEWER_AUDIT
    stage = AuditStage.CONFIRMED

    def __init__(self, db: Database, ledger: Ledger, model: str | None, gateway: Callable[[str], Gateway]) -> None:
        self._db = db
        self._ledger = ledger
        self._model = model
        self._gateway = gateway

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """Return no phases: the reviewer reads code only."""
        return ()

    async def judge(self, dossier: AuditInput) -> AuditResult:
        """Have the model review the code; a call that cannot be made is skipped.

        The skipped audit names the reason.
        """
        if self._model is None:
            return _skipped(NO_MODEL, "no key")
        listing = await anyio.to_thread.run_sync(render_code_listing, dossier)
        request = _request(self._model, listing)
        bound = FIXED_TOKENS + token_upper_bound([*request.system, *request.tools, *request.messages])
        try:
            reply, usd = await self._ask(request, bound)
        except LimitReached as limit:
            return _skipped(f"Not reviewed: {limit.message}.", "no budget left")
        except DatabaseError:
            raise
        except (GatewayError, SetupError, UsageError) as error:
            return _skipped(f"Not reviewed: the model could not be called ({error.message}).", "not answered")
        result = read_verdict(_tool_input(reply), listing)
        return replace(result, evidence={**result.evidence, "model": reply.model, "usd": f"{usd:f}"})

    async def _ask(self, request: ModelRequest, input_tokens: int) -> tuple[CompleteReply, Decimal]:
        worst = WorstCase("model", request.model, input_tokens, MAX_OUTPUT_TOKENS)
        async with self._ledger.metered(worst, request_id=f"review-{uuid.uuid4().hex}", researcher_id=None) as bill:
            reply = await self._gateway(request.model).complete(request, status=bill.send_status)
            bill.use(reply)
            with anyio.CancelScope(shield=True):
                usd = await self._db.write(bill.settle_in)
        return reply, usd


def _request(model: str, listing: CodeListing) -> ModelRequest:
    rubric = {"type": "text", "text": _rubric(), "cache_control": {"type": "ephemeral"}}
    message = {"role": "user", "content": [{"type": "text", "text": listing.text}]}
    forced = {"tool_choice": {"type": "tool", "name": VERDICT_TOOL, "disable_parallel_tool_use": True}}
    return ModelRequest(model, [rubric], [verdict_tool_definition()], [message], MAX_OUTPUT_TOKENS, extra=forced)


def _tool_input(reply: CompleteReply) -> dict[str, object] | None:
    if reply.stop_reason in TRUNCATED_STOP_REASONS:
        return None  # a truncated answer may still parse as a complete, different one
    for block in reply.content:
        if (
            block.get("type") == "tool_use"
            and block.get("name") == VERDICT_TOOL
            and isinstance(block.get("input"), dict)
        ):
            given: dict[str, object] = block["input"]
            return given
    return None


def _skipped(reason: str, why: str) -> AuditResult:
    return AuditResult(REVIEWER_AUDIT, AuditVerdict.SKIPPED, f"not reviewed: {why}", reason)


@lru_cache(maxsize=1)
def _rubric() -> str:
    return Path(__file__).with_name("rubric.md").read_text(encoding="utf-8")


class CodeQuote(BaseModel):
    """One line of the frozen code, or a part of it."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    file: str
    line: int
    text: str


class ReviewAnswer(BaseModel):
    """The model's answer, as it sends it."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    verdict: Literal["passed", "flagged", "disqualified"]
    rule: str
    reason: Annotated[str, Field(min_length=1)]
    quotes: list[CodeQuote]


def verdict_tool_definition() -> dict[str, Any]:
    """Return the tool that the model must call, as plain JSON schema.

    Strict tools take no other schema.
    """
    text = {"type": "string"}
    quote = {
        "type": "object",
        "properties": {"file": text, "line": {"type": "integer"}, "text": text},
        "required": ["file", "line", "text"],
        "additionalProperties": False,
    }
    return {
        "name": VERDICT_TOOL,
        "description": "Give the verdict on the method under review.",
        "strict": True,
        "input_schema": {
            "type": "object",
            "properties": {
                "verdict": {"type": "string", "enum": ["passed", "flagged", "disqualified"]},
                "rule": {"type": "string", "enum": ["", *_RULES]},
                "reason": text,
                "quotes": {"type": "array", "items": quote},
            },
            "required": ["verdict", "rule", "reason", "quotes"],
            "additionalProperties": False,
        },
    }


def read_verdict(given: Mapping[str, Any] | None, listing: CodeListing) -> AuditResult:
    """Turn a model's answer into an audit result.

    A disqualification is valid only with quotes that occur in the code. A method of which not everything was read, or
    that kept the model from answering, is flagged, so that neither is a way past the reviewer.

    Args:
        given: the tool's input; None where the model gave none.
    """
    try:
        answer = None if given is None else ReviewAnswer.model_validate(given)
    except ValidationError:
        answer = None
    if answer is None or answer.rule not in ("", *_RULES):
        return _flagged(
            "no-verdict", "The model gave no verdict in the form asked for; a person should read this code."
        )
    sound, unsound = _check_quotes(answer.quotes, listing)
    verdict, rule = AuditVerdict(answer.verdict), answer.rule
    reason = shorten(answer.reason, _LONGEST_REASON)
    evidence: dict[str, Any] = {"quotes": sound, "unfounded": unsound, "left_out": list(listing.left_out)}
    if verdict is AuditVerdict.DISQUALIFIED and (not sound or unsound):
        verdict = AuditVerdict.FLAGGED
        reason += " (Not disqualified: the lines quoted for it do not all occur in the code.)"
    if verdict is AuditVerdict.DISQUALIFIED and (not rule or rule in _ONLY_FLAGGED):
        verdict = AuditVerdict.FLAGGED
    if verdict is AuditVerdict.PASSED and rule:
        verdict = AuditVerdict.FLAGGED  # a rule was named, so there is a finding
    if verdict is AuditVerdict.PASSED and listing.left_out:
        verdict, rule = AuditVerdict.FLAGGED, "unread"
        reason = (
            f"Nothing found, but the code is too long to be read whole: {', '.join(listing.left_out)[:300]} left out."
        )
    if verdict is not AuditVerdict.PASSED and not rule:
        rule = "suspicion"
    return AuditResult(REVIEWER_AUDIT, verdict, f"{REVIEWER_AUDIT}.{rule}" if rule else "", reason, evidence)


def _flagged(rule: str, reason: str) -> AuditResult:
    return AuditResult(REVIEWER_AUDIT, AuditVerdict.FLAGGED, f"{REVIEWER_AUDIT}.{rule}", reason)


def _check_quotes(quotes: list[CodeQuote], listing: CodeListing) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    sound: list[dict[str, Any]] = []
    unsound: list[dict[str, Any]] = []
    for quote in quotes[:_MOST_QUOTES]:
        at = listing.find_quote(quote.file, quote.line, quote.text)
        quoted = {"file": shorten(quote.file, 200), "line": at or quote.line, "text": shorten(quote.text, 300)}
        (unsound if at is None else sound).append(quoted)
    return sound, unsound


@dataclass(frozen=True, slots=True)
class CodeListing:
    """The numbered listing of a method.

    Args:
        text: the block, marks included.
        lines: of each file shown, by path, as the reviewer reads them.
        left_out: a text that names the omitted parts; empty when the whole method is shown.
    """

    text: str
    lines: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]

    def find_quote(self, path: str, line: int, quote: str) -> int | None:
        """Return the line, from 1, of a quote at or next to ``line``.

        Returns None if the quote does not occur there.
        """
        wanted = " ".join(quote.split())
        rows = self.lines.get(path, ())
        if len(wanted) < 3:
            return None
        for number in sorted(range(max(line - _NEAR, 1), line + _NEAR + 1), key=lambda each: abs(each - line)):
            if number <= len(rows) and wanted in " ".join(rows[number - 1].split()):
                return number
        return None


def render_code_listing(dossier: AuditInput, *, most: int = MAX_LISTING_CHARACTERS) -> CodeListing:
    """Render a method's claim and code, entry point first.

    Reads files: call it outside the event loop.

    Args:
        most: characters of code that are shown.
    """
    mark = secrets.token_hex(8)
    parts = [
        f"title: {clean_line(dossier.title)}",
        f"claim: {clean_line(dossier.claim)}",
        f"hypothesis: {clean_line(dossier.hypothesis) or '(none was given)'}",
    ]
    lines: dict[str, tuple[str, ...]] = {}
    left_out: list[str] = []
    budget = most
    for path in _files(dossier.code):
        name = clean_line(path.relative_to(dossier.code).as_posix())
        text = _text(path)
        if text is None:
            parts.append(f"file {name}: not text, {path.stat().st_size:,} bytes")
            continue
        rows, cut = _truncate(clean_text(text).split("\n"), budget)
        budget -= sum(map(len, rows))
        lines[name] = rows
        parts.append("\n".join([f"file {name}:", *(f"{number}| {row}" for number, row in enumerate(rows, 1))]))
        if cut:
            left_out.append(f"{cut} of {name}")
            parts.append(f"(left out here because the method is too long: {cut} of {name})")
    body = "\n\n".join(parts)
    return CodeListing(f"[method {mark}]\n{body}\n[method {mark}]", lines, tuple(left_out))


def _files(code: Path) -> list[Path]:
    found = [path for path in code.rglob("*") if stat.S_ISREG(path.lstat().st_mode)]
    return sorted(found, key=lambda path: (path.name != ENTRY_POINT, path.name != MANIFEST_FILE, path.as_posix()))


def _text(path: Path) -> str | None:
    if path.stat().st_size > _LONGEST_FILE:
        return None
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None


def _truncate(rows: list[str], left: int) -> tuple[tuple[str, ...], str]:
    """Return as many lines as fit, and a text that names the omitted ones."""
    fitting: list[str] = []
    shortened = 0
    for row in rows:
        left -= min(len(row), _LONGEST_LINE)
        if left < 0:
            break
        shortened += len(row) > _LONGEST_LINE
        fitting.append(
            row if len(row) <= _LONGEST_LINE else f"{row[:_LONGEST_LINE]} (and {len(row) - _LONGEST_LINE} more)"
        )
    missing = len(rows) - len(fitting)
    words = [f"{missing} lines"] if missing else []
    words += [f"the ends of {shortened} long lines"] if shortened else []
    return tuple(fitting), " and ".join(words)
