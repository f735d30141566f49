"""Edits and summarises the context of a request, as the service does when a client asks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aar.testing.fake_messages_api.replies import compact_json, count_block_tokens, count_text_tokens
from aar.testing.fake_messages_api.request import ApiError, ContentBlock, Json, Message, MessagesRequest
from aar.testing.fake_messages_api.thinking import ThinkingSigner

EDITING_BETA = "context-management-2025-06-27"
CLEAR_TOOL_USES = "clear_tool_uses_20250919"
CLEAR_THINKING = "clear_thinking_20251015"
EDITING_TRIGGER_TOKENS = 100_000
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
    if EDITING_BETA not in request.betas and not any(beta.startswith("compact-") for beta in request.betas):
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
    trigger = asked.get("trigger") or {"type": "input_tokens", "value": EDITING_TRIGGER_TOKENS}
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


EDIT = "compact_20260112"
COMPACTION_BETA = "compact-2026-01-12"
COMPACTION_TRIGGER_TOKENS = 150_000
LEAST_TRIGGER = 50_000
"""Lowest threshold that the service accepts (platform.claude.com/docs, "Compaction at a token threshold")."""


def compaction_edit(request: MessagesRequest) -> Mapping[str, Any] | None:
    """Return the compaction edit of a request, if it has one."""
    return next((edit for edit in requested_edits(request) if edit.get("type") == EDIT), None)


def trigger_threshold(asked: Mapping[str, Any]) -> int:
    """Return the prompt tokens that trigger compaction."""
    return int((asked.get("trigger") or {"value": COMPACTION_TRIGGER_TOKENS})["value"])


def compaction_errors(request: MessagesRequest, signer: ThinkingSigner) -> Iterator[str]:
    """Yield errors in a request's compaction edit and in returned compaction blocks."""
    asked = compaction_edit(request)
    if asked is not None and COMPACTION_BETA not in request.betas:
        yield f"context_management.edits: Input tag '{EDIT}' is not available without the beta header {COMPACTION_BETA}"
    if asked is not None and trigger_threshold(asked) < LEAST_TRIGGER:
        yield f"context_management.edits.{EDIT}.trigger.value: Input should be greater than or equal to {LEAST_TRIGGER}"
    for block in request.blocks():
        if block.kind != "compaction":
            continue
        text, proof = block.data.get("content"), block.data.get("encrypted_content")
        if text == "":
            yield f"{block.at}.compaction.content: String should have at least 1 character"
        elif text is not None and proof is not None and not signer.is_valid(text, proof):
            yield f"{block.at}: `compaction` block cannot be modified; send it back as it was returned"


def since_summary(request: MessagesRequest) -> MessagesRequest:
    """Return the conversation from its last compaction block on.

    A block without content stands for nothing.
    """
    if all(block.kind != "compaction" for block in request.blocks()):
        return request
    messages = list(request.messages)
    for index in range(len(messages) - 1, -1, -1):
        blocks = messages[index].blocks
        at = next((i for i in range(len(blocks) - 1, -1, -1) if _stands(blocks[i])), None)
        if at is not None:
            messages[: index + 1] = [replace(messages[index], blocks=blocks[at:])]
            break
    kept = [replace(m, blocks=tuple(b for b in m.blocks if b.kind != "compaction" or _stands(b))) for m in messages]
    return replace(request, messages=tuple(message for message in kept if message.blocks))


def _stands(block: ContentBlock) -> bool:
    return block.kind == "compaction" and bool(block.data.get("content"))


def compaction_block(summary: str, signer: ThinkingSigner) -> Json:
    """Return the block at the start of a response."""
    return {"type": "compaction", "content": summary, "encrypted_content": signer.sign(summary)}


def compact_request(request: MessagesRequest, block: Mapping[str, Any]) -> MessagesRequest:
    """Return the request with its summary as its only conversation."""
    return replace(request, messages=(Message("user", (ContentBlock(block, "messages.0.content.0"),), "messages.0"),))


def default_summary(request: MessagesRequest) -> str:
    """Return a summary for models that write none.

    It has the conversation's length, start and end.
    """
    texts = [str(block.data["text"]) for block in request.blocks() if block.kind == "text"]
    calls = sum(block.kind == "tool_use" for block in request.blocks())
    ends = f" It began: {texts[0][:200]} It ended: {texts[-1][:200]}" if texts else ""
    return f"Summary of {len(request.messages)} messages with {calls} tool calls.{ends}"


ON_DEMAND_BETA = "compact-2026-09-04"


def is_summary_request(request: MessagesRequest) -> bool:
    """Return True if a request is only for a summary."""
    return bool(request.body.get("compaction"))


def summary_block(summary: str, signer: ThinkingSigner) -> Json:
    """Return the block of a summary.

    It has no tool changes, because the fake server plays none.
    """
    text = _digest(summary)
    return {"type": "compaction", "content": summary, "signature": f"{text}.{signer.sign(text)}", "tool_changes": []}


def summary_errors(request: MessagesRequest, signer: ThinkingSigner) -> Iterator[str | ApiError]:
    """Yield errors in a request for a summary, and in the signed summary at its start."""
    yield from _asked(request)
    blocks = list(request.blocks())
    summaries = [block for block in blocks if block.kind == "compaction" and block.data.get("content")]
    signed = [block for block in summaries if block.data.get("signature")]
    if not signed:
        return
    if len(summaries) > 1:
        yield _coded("compaction_block_ambiguous", "`messages` holds more than one `compaction` block with content")
    if signed[0] is not blocks[0]:
        yield _coded(
            "compaction_block_misplaced",
            f"{signed[0].at}: a `compaction` block must be the first block of the conversation",
        )
    if compaction_edit(request) is not None:
        yield "context_management.edits: a signed `compaction` block cannot be combined with a compaction edit"
    yield from _changed(signed[0], signer)


def _asked(request: MessagesRequest) -> Iterator[str | ApiError]:
    if not is_summary_request(request):
        return
    if ON_DEMAND_BETA not in request.betas:
        yield "compaction: Extra inputs are not permitted"
    if compaction_edit(request) is not None:
        yield "compaction: cannot be combined with a compaction edit of `context_management`"
    last = request.messages[-1]
    if last.role == "assistant" and last.blocks[-1].kind in ("tool_use", "server_tool_use"):
        yield _coded(
            "compaction_incomplete_turn", "The compaction request ends on an `assistant` turn that is not finished"
        )
    if all(block.kind == "compaction" for block in request.blocks()):
        yield _coded("compaction_nothing_to_summarize", "`messages` holds nothing to summarize")


def _changed(block: ContentBlock, signer: ThinkingSigner) -> Iterator[ApiError]:
    text, _, proof = str(block.data["signature"]).partition(".")
    if not signer.is_valid(text, proof):
        yield _coded("compaction_signature_invalid", f"{block.at}: the `signature` of the block does not verify")
    if text != _digest(str(block.data["content"])):
        yield _coded("compaction_content_mismatch", f"{block.at}: `content` differs from what its `signature` recorded")
    if block.data.get("tool_changes"):
        yield _coded("compaction_tool_changes_mismatch", f"{block.at}: `tool_changes` differs from what was returned")


def _coded(code: str, message: str) -> ApiError:
    return ApiError(400, message, details={"error_code": code})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
