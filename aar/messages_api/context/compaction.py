"""Compaction: a summary replaces a conversation above a threshold, within a request.

The ``compact_20260112`` edit of the ``compact-2026-01-12`` beta. The response begins with a ``compaction`` block; sent
back, it stands for everything before it. Writing the summary is a model call of its own: its tokens are an entry of
``usage.iterations`` and no part of the figures above it. ``on_demand_compaction`` has the other kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from aar.messages_api.context.context_editing import requested_edits
from aar.messages_api.context.thinking import ThinkingSigner
from aar.messages_api.request import ContentBlock, Json, Message, MessagesRequest

EDIT = "compact_20260112"
BETA = "compact-2026-01-12"
TRIGGER_TOKENS = 150_000
LEAST_TRIGGER = 50_000
"""Lowest threshold that the service accepts (platform.claude.com/docs, "Compaction at a token threshold")."""


def compaction_edit(request: MessagesRequest) -> Mapping[str, Any] | None:
    """Return the compaction edit of a request, if it has one."""
    return next((edit for edit in requested_edits(request) if edit.get("type") == EDIT), None)


def trigger_threshold(asked: Mapping[str, Any]) -> int:
    """Return the prompt tokens that trigger compaction."""
    return int((asked.get("trigger") or {"value": TRIGGER_TOKENS})["value"])


def compaction_errors(request: MessagesRequest, signer: ThinkingSigner) -> Iterator[str]:
    """Yield errors in a request's compaction edit and in returned compaction blocks."""
    asked = compaction_edit(request)
    if asked is not None and BETA not in request.betas:
        yield f"context_management.edits: Input tag '{EDIT}' is not available without the beta header {BETA}"
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
