"""Validation of requests beyond their types: roles, tool call pairs, model limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aar.messages_api.context.thinking import thinking_config_errors
from aar.messages_api.image_validation import image_errors
from aar.messages_api.model_specs import ModelSpec
from aar.messages_api.request import ContentBlock, Message, MessagesRequest

MOST_MESSAGES = 100_000
_LONGER_OUTPUT = "output-300k-2026-03-24"
_LONGEST_OUTPUT = 300_000


def request_errors(request: MessagesRequest, traits: ModelSpec, *, resumed: bool) -> Iterator[str]:
    """Yield the errors that the service would return, in its order.

    Args:
        request: the request.
        traits: of the model.
        resumed: the conversation ends with a turn that was paused, which may be sent back as it is.
    """
    if "max_tokens" in request.body:
        yield from _bounds(request, traits)
    yield from _tools(request)
    yield from thinking_config_errors(request, traits)
    yield from _opening(request)
    if request.messages[-1].role == "assistant" and not resumed:
        yield from _ending(request, traits)
    yield from pairing_errors(request.messages)
    yield from _texts(request)
    yield from image_errors(list(request.blocks()))


def _bounds(request: MessagesRequest, traits: ModelSpec) -> Iterator[str]:
    most = _LONGEST_OUTPUT if _LONGER_OUTPUT in request.betas else traits.most_output
    asked = request.max_tokens
    if asked < 0:
        yield "max_tokens: Input should be greater than or equal to 0"
    if asked > most:
        yield f"max_tokens: {asked} > {most}, which is the maximum allowed number of output tokens for {request.model}"
    if len(request.body["messages"]) > MOST_MESSAGES:
        yield f"messages: at most {MOST_MESSAGES} messages are allowed"


def _tools(request: MessagesRequest) -> Iterator[str]:
    names = [str(tool["name"]) for tool in request.tools if "name" in tool]
    if len(set(names)) < len(names):
        yield "tools: Tool names must be unique."
    choice = request.body.get("tool_choice") or {}
    if choice and not request.tools:
        yield "tool_choice: tool_choice may only be specified while providing tools"
    elif choice.get("type") == "tool" and choice.get("name") not in names:
        yield f"tool_choice: Tool '{choice.get('name')}' not found in provided tools"


def _opening(request: MessagesRequest) -> Iterator[str]:
    first = request.messages[0]
    if first.role != "user" and first.blocks[0].kind != "compaction":
        yield f'{first.at}.role: first message must use the "user" role'


def _ending(request: MessagesRequest, traits: ModelSpec) -> Iterator[str]:
    """Yield errors in the end of a prefilled reply."""
    last = request.messages[-1].blocks[-1]
    if not traits.prefill:
        yield "This model does not support assistant message prefill. The conversation must end with a user message."
    elif last.kind == "text" and last.data["text"] != last.data["text"].rstrip():
        yield "messages: final assistant content cannot end with trailing whitespace"
    elif last.kind in ("thinking", "redacted_thinking"):
        yield f"{last.at}: an `assistant` message in the final position cannot end with `{last.kind}`"


def _texts(request: MessagesRequest) -> Iterator[str]:
    for block in [*request.system, *request.blocks()]:
        if block.kind != "text":
            continue
        if not block.data["text"]:
            yield f"{block.at}: text content blocks must be non-empty"
        elif not block.data["text"].strip():
            yield f"{block.at}: text content blocks must contain non-whitespace text"


def pairing_errors(messages: Sequence[Message]) -> Iterator[str]:
    """Yield errors in the pairs of tool calls and results.

    Each call has one result, in the next message.
    """
    waiting: list[str] = []
    seen: set[str] = set()
    before = ""
    for message in messages:
        if message.role == "system":
            continue
        yield from _misplaced(message)
        if message.role == "user":
            yield from _unpaired(message, waiting, before)
        waiting = [block.data["id"] for block in message.blocks if block.kind == "tool_use"]
        if repeated := [call for call in waiting if call in seen] or _doubled(waiting):
            yield f"{message.at}: `tool_use` ids must be unique: {', '.join(repeated)}"
        seen.update(waiting)
        before = message.at
    if waiting:
        yield _unanswered(before, waiting)


def _doubled(ids: Sequence[str]) -> list[str]:
    return sorted({call for call in ids if ids.count(call) > 1}) if len(set(ids)) < len(ids) else []


def _misplaced(message: Message) -> Iterator[str]:
    wrong, right = ("tool_result", "user") if message.role == "assistant" else ("tool_use", "assistant")
    for block in message.blocks:
        if block.kind == wrong:
            yield f"{block.at}: `{wrong}` blocks can only be in `{right}` messages"
        if message.role == "assistant" and block.kind == "document":
            yield f"{block.at}: `document` blocks cannot be in `assistant` messages"
        if message.role == "user" and block.kind in ("thinking", "redacted_thinking"):
            yield f"{block.at}: `{block.kind}` blocks can only be in `assistant` messages"


def _unpaired(message: Message, waiting: Sequence[str], before: str) -> Iterator[str]:
    results = [block for block in message.blocks if block.kind == "tool_result"]
    for block in results:
        if block.data["tool_use_id"] not in waiting:
            yield (
                f"{block.at}: unexpected `tool_use_id` found in `tool_result` blocks: {block.data['tool_use_id']}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
    answered = [block.data["tool_use_id"] for block in _leading(message.blocks)]
    if missing := [call for call in waiting if call not in answered]:
        yield _unanswered(before, missing)
    if len(set(answered)) < len(answered):
        yield f"{message.at}: each `tool_use` must have a single result. Found several `tool_result` blocks with one id"


def _unanswered(at: str, calls: Sequence[str]) -> str:
    return (
        f"{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(calls)}. Each "
        "`tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def _leading(blocks: Sequence[ContentBlock]) -> Iterator[ContentBlock]:
    """Yield the results at the head of a message.

    A result after other content belongs to no call.
    """
    for block in blocks:
        if block.kind != "tool_result":
            return
        yield block
