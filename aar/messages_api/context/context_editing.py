"""Context editing: removal of old tool results and old thinking from the prompt.

Types and defaults are those of the ``context-management-2025-06-27`` beta: tool results go once the prompt passes
100,000 tokens, all but the last three; thinking goes for all but the last turn that thought. The client stores its
whole history; each request is edited again, and the response lists the applied edits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aar.messages_api.request import ContentBlock, Json, Message, MessagesRequest
from aar.messages_api.token_counts import compact_json, count_block_tokens, count_text_tokens

BETA = "context-management-2025-06-27"
CLEAR_TOOL_USES = "clear_tool_uses_20250919"
CLEAR_THINKING = "clear_thinking_20251015"
TRIGGER_TOKENS = 100_000
KEPT_TOOL_USES = 3
CLEARED = "[Old tool result content cleared]"
"""Placeholder of a cleared result."""
_THINKING = ("thinking", "redacted_thinking")


@dataclass(frozen=True, slots=True)
class EditedRequest:
    """A request after its edits, with their reports."""

    request: MessagesRequest
    applied: Sequence[Json]


def requested_edits(request: MessagesRequest) -> list[Mapping[str, Any]]:
    """Return the edits of a request."""
    return list((request.body.get("context_management") or {}).get("edits") or [])


def editing_errors(request: MessagesRequest) -> Iterator[str]:
    """Yield errors in the requested edits."""
    if "context_management" not in request.body:
        return
    if BETA not in request.betas and not any(beta.startswith("compact-") for beta in request.betas):
        yield "context_management: Extra inputs are not permitted"
    kinds = [edit.get("type") for edit in requested_edits(request)]
    if len(set(kinds)) < len(kinds):
        yield "context_management.edits: each edit type may be used once"
    if CLEAR_THINKING in kinds[1:]:
        yield f"context_management.edits: {CLEAR_THINKING} must be the first edit"


def apply_edits(request: MessagesRequest, tokens: int) -> EditedRequest:
    """Apply a request's edits.

    Args:
        request: as sent.
        tokens: of its prompt, before any edit.
    """
    applied: list[Json] = []
    for asked in requested_edits(request):
        if asked["type"] == CLEAR_THINKING:
            messages, report = _clear_thinking(request.messages, asked)
        elif asked["type"] == CLEAR_TOOL_USES:
            messages, report = _clear_tool_uses(request.messages, asked, tokens)
        else:
            continue
        if report is not None:
            request = replace(request, messages=messages)
            tokens -= report["cleared_input_tokens"]
            applied.append(report)
    return EditedRequest(request, applied)


def drop_old_thinking(request: MessagesRequest) -> MessagesRequest:
    """Return the request as seen by models that drop old thinking.

    Only the last turn's thinking stays.
    """
    messages, report = _clear_thinking(
        request.messages, {"keep": {"type": "thinking_turns", "value": 1}}, last_only=True
    )
    return request if report is None else replace(request, messages=messages)


def _turns(messages: Sequence[Message]) -> list[int]:
    """Return for each message the number of its turn.

    A turn goes from a user's text to the next one.
    """
    numbers: list[int] = []
    turn = 0
    for message in messages:
        if message.role == "user" and any(block.kind != "tool_result" for block in message.blocks):
            turn += 1
        numbers.append(turn)
    return numbers


def _clear_thinking(
    messages: tuple[Message, ...], asked: Mapping[str, Any], *, last_only: bool = False
) -> tuple[tuple[Message, ...], Json | None]:
    keep = asked.get("keep") or {"type": "thinking_turns", "value": 1}
    if keep == "all" or keep["type"] == "all":
        return messages, None
    turns = _turns(messages)
    thought = sorted(
        {turn for turn, m in zip(turns, messages, strict=True) if any(b.kind in _THINKING for b in m.blocks)}
    )
    # The current turn retains its thinking in any case: its tool loop could not go on without it.
    kept = {turns[-1]} if last_only else {turns[-1], *thought[-int(keep["value"]) :]}
    cleared = 0
    edited: list[Message] = []
    for turn, message in zip(turns, messages, strict=True):
        blocks = message.blocks if turn in kept else tuple(b for b in message.blocks if b.kind not in _THINKING)
        cleared += sum(count_block_tokens(b.data) for b in message.blocks) - sum(
            count_block_tokens(b.data) for b in blocks
        )
        edited.append(replace(message, blocks=blocks))
    gone = [turn for turn in thought if turn not in kept]
    if not gone:
        return messages, None
    report = {"type": CLEAR_THINKING, "cleared_thinking_turns": len(gone), "cleared_input_tokens": cleared}
    return tuple(message for message in edited if message.blocks), report


def _clear_tool_uses(
    messages: tuple[Message, ...], asked: Mapping[str, Any], tokens: int
) -> tuple[tuple[Message, ...], Json | None]:
    spared = set(asked.get("exclude_tools") or ())
    calls = {b.data["id"]: b for m in messages for b in m.blocks if b.kind == "tool_use"}
    answered = [b.data["tool_use_id"] for m in messages for b in m.blocks if b.kind == "tool_result"]
    trigger = asked.get("trigger") or {"type": "input_tokens", "value": TRIGGER_TOKENS}
    reached = tokens if trigger["type"] == "input_tokens" else len(answered)
    keep = int((asked.get("keep") or {"value": KEPT_TOOL_USES})["value"])
    old = answered[: len(answered) - keep] if keep else answered
    old = [call for call in old if call in calls and calls[call].data["name"] not in spared]
    if reached <= trigger["value"] or not old:
        return messages, None
    inputs = asked.get("clear_tool_inputs")
    edited = tuple(
        replace(message, blocks=tuple(_cleared(block, set(old), inputs) for block in message.blocks))
        for message in messages
    )
    before, after = (sum(count_block_tokens(b.data) for m in ms for b in m.blocks) for ms in (messages, edited))
    least = (asked.get("clear_at_least") or {"value": 0})["value"]
    if before - after <= 0 or before - after < least:
        return messages, None
    report = {"type": CLEAR_TOOL_USES, "cleared_tool_uses": len(old), "cleared_input_tokens": before - after}
    return edited, report


def _cleared(block: ContentBlock, old: set[str], inputs: Any) -> ContentBlock:
    data = block.data
    if block.kind == "tool_result" and data["tool_use_id"] in old:
        content = data.get("content") or ""
        short = isinstance(content, str) and count_text_tokens(content) <= count_text_tokens(CLEARED)
        return block if short else replace(block, data={**data, "content": CLEARED})
    if block.kind == "tool_use" and data["id"] in old and inputs:
        whole = inputs is True or data["name"] in inputs
        if whole and compact_json(data["input"]) != "{}":
            return replace(block, data={**data, "input": {}})
    return block
