"""The reviewer's answer: its schema, and the check of its quotes against the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aar.scoring.audits.protocol import AuditResult, AuditVerdict
from aar.scoring.audits.review.code_listing import CodeListing
from aar.text.sanitize import shorten

REVIEWER_AUDIT: Final = "reviewer"
VERDICT_TOOL: Final = "verdict"
_LONGEST_REASON = 800
_MOST_QUOTES = 8
_RULES = ("injection", "answers", "leak", "clean-room", "state", "seed", "harness", "obfuscated", "claim")
_ONLY_FLAGGED = frozenset({"claim"})


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


def read_verdict(given: Mapping[str, Any] | None, shown: CodeListing) -> AuditResult:
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
    sound, unsound = _checked(answer.quotes, shown)
    verdict, rule = AuditVerdict(answer.verdict), answer.rule
    reason = shorten(answer.reason, _LONGEST_REASON)
    evidence: dict[str, Any] = {"quotes": sound, "unfounded": unsound, "left_out": list(shown.left_out)}
    if verdict is AuditVerdict.DISQUALIFIED and (not sound or unsound):
        verdict = AuditVerdict.FLAGGED
        reason += " (Not disqualified: the lines quoted for it do not all occur in the code.)"
    if verdict is AuditVerdict.DISQUALIFIED and (not rule or rule in _ONLY_FLAGGED):
        verdict = AuditVerdict.FLAGGED
    if verdict is AuditVerdict.PASSED and rule:
        verdict = AuditVerdict.FLAGGED  # a rule was named, so there is a finding
    if verdict is AuditVerdict.PASSED and shown.left_out:
        verdict, rule = AuditVerdict.FLAGGED, "unread"
        reason = (
            f"Nothing found, but the code is too long to be read whole: {', '.join(shown.left_out)[:300]} left out."
        )
    if verdict is not AuditVerdict.PASSED and not rule:
        rule = "suspicion"
    return AuditResult(REVIEWER_AUDIT, verdict, f"{REVIEWER_AUDIT}.{rule}" if rule else "", reason, evidence)


def _flagged(rule: str, reason: str) -> AuditResult:
    return AuditResult(REVIEWER_AUDIT, AuditVerdict.FLAGGED, f"{REVIEWER_AUDIT}.{rule}", reason)


def _checked(quotes: list[CodeQuote], shown: CodeListing) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    sound: list[dict[str, Any]] = []
    unsound: list[dict[str, Any]] = []
    for quote in quotes[:_MOST_QUOTES]:
        at = shown.find_quote(quote.file, quote.line, quote.text)
        said = {"file": shorten(quote.file, 200), "line": at or quote.line, "text": shorten(quote.text, 300)}
        (unsound if at is None else sound).append(said)
    return sound, unsound
