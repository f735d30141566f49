"""Compaction on demand: a request only for a signed summary of its conversation.

The ``compaction`` parameter of the ``compact-2026-09-04`` beta. The block that comes back is sent first in later
requests, in place of the messages that it stands for, and unchanged. The errors have the codes of the SDK's types.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from aar.messages_api.api_errors import ApiError
from aar.messages_api.context.compaction import compaction_edit
from aar.messages_api.context.thinking import ThinkingSigner
from aar.messages_api.request import ContentBlock, Json, MessagesRequest

BETA = "compact-2026-09-04"


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
    if BETA not in request.betas:
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
