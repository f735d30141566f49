"""What a request to the Messages API may say, checked the way the service checks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from aar.researcher.offline import MODEL


class RequestRefused(Exception):
    """The request is answered with an error of the API: HTTP status, error type, message."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message

    def body(self, request_id: str) -> dict[str, Any]:
        """The error as the API words it."""
        return {"type": "error", "error": {"type": self.kind, "message": self.message}, "request_id": request_id}


def invalid(message: str) -> RequestRefused:
    """A malformed request: status 400, ``invalid_request_error``."""
    return RequestRefused(400, "invalid_request_error", message)


_TAGS = ("text", "tool_use", "tool_result", "other")


class Lenient(BaseModel):
    """Base of what is read from a request: fields that this server has no use for are let through."""

    model_config = ConfigDict(extra="allow", frozen=True)


class CacheControl(Lenient):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class Block(Lenient):
    """Any content block; kinds that matter here have their own class."""

    type: str
    cache_control: CacheControl | None = None


class TextBlock(Block):
    type: Literal["text"]
    text: str = Field(min_length=1)


class ToolUseBlock(Block):
    type: Literal["tool_use"]
    id: str = Field(pattern=r"^[a-zA-Z0-9_-]+$")
    name: str = Field(min_length=1, max_length=128)
    input: dict[str, Any]


def _as_blocks(content: Any) -> Any:
    """A plain string as the one text block that it stands for."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


def _kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if kind in _TAGS[:3] else "other"


class ToolResultBlock(Block):
    type: Literal["tool_result"]
    tool_use_id: str
    content: Annotated[list[Block], BeforeValidator(_as_blocks)] = []
    is_error: bool = False

    def text(self) -> str:
        """The text of the result, its other blocks left out."""
        return "\n".join(str(getattr(block, "text", "")) for block in self.content if block.type == "text")


ContentBlock = Annotated[
    Annotated[TextBlock, Tag("text")]
    | Annotated[ToolUseBlock, Tag("tool_use")]
    | Annotated[ToolResultBlock, Tag("tool_result")]
    | Annotated[Block, Tag("other")],
    Discriminator(_kind),
]


class RequestMessage(Lenient):
    role: Literal["user", "assistant"]
    content: Annotated[list[ContentBlock], BeforeValidator(_as_blocks)]


class Tool(Lenient):
    name: str = Field(min_length=1, max_length=128)
    type: str = "custom"
    cache_control: CacheControl | None = None


class CountRequest(Lenient):
    """Body of ``/v1/messages/count_tokens``, and what every request has."""

    model: str
    messages: list[RequestMessage] = Field(min_length=1)
    system: Annotated[list[TextBlock], BeforeValidator(_as_blocks)] = []
    tools: list[Tool] = []
    cache_control: CacheControl | None = None

    def system_text(self) -> str:
        """The system prompt as one text."""
        return "\n".join(block.text for block in self.system)


class MessageRequest(CountRequest):
    """Body of ``/v1/messages``."""

    max_tokens: int = Field(ge=1)
    stream: bool = False


R = TypeVar("R", bound=CountRequest)


def read_request(kind: type[R], body: bytes) -> R:
    """A checked request. Raises RequestRefused with the API's status and wording."""
    try:
        request = kind.model_validate_json(body)
    except ValidationError as error:
        raise invalid(_first_complaint(error)) from error
    if request.model != MODEL:
        raise RequestRefused(404, "not_found_error", f"model: {request.model}")
    for complaint in _complaints(request):
        raise invalid(complaint)
    return request


def _first_complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    places: list[str] = []
    for at, part in enumerate(first["loc"]):
        # The tag of a union stands after the block's number; it is no field.
        is_tag = at > 0 and isinstance(first["loc"][at - 1], int) and part in _TAGS
        if not is_tag:
            places.append(str(part))
    return f"{'.'.join(places)}: {first['msg']}" if places else str(first["msg"])


def _complaints(request: CountRequest) -> Iterator[str]:
    names = [tool.name for tool in request.tools]
    if len(set(names)) < len(names):
        yield "tools: Tool names must be unique."
    messages = request.messages
    if messages[0].role != "user":
        yield 'messages: first message must use the "user" role'
    if messages[-1].role != "user":
        yield "This model does not support assistant message prefill. The conversation must end with a user message."
    waiting: list[str] = []
    for index, message in enumerate(messages):
        if index and message.role == messages[index - 1].role:
            yield (
                f'messages: roles must alternate between "user" and "assistant", '
                f'but found multiple "{message.role}" roles in a row'
            )
        if not message.content:
            yield f"messages.{index}: all messages must have non-empty content"
        yield from _unpaired(index, message, waiting)
        waiting = [block.id for block in message.content if isinstance(block, ToolUseBlock)]


def _unpaired(index: int, message: RequestMessage, waiting: Sequence[str]) -> Iterator[str]:
    """Complaints about one message's tool results, given the calls of the message before it."""
    blocks = message.content
    if message.role == "assistant":
        if any(isinstance(block, ToolResultBlock) for block in blocks):
            yield f"messages.{index}: `tool_result` blocks can only be in `user` messages"
        return
    if any(isinstance(block, ToolUseBlock) for block in blocks):
        yield f"messages.{index}: `tool_use` blocks can only be in `assistant` messages"
    leading = 0
    while leading < len(blocks) and isinstance(blocks[leading], ToolResultBlock):
        leading += 1
    answered = [block.tool_use_id for block in blocks[:leading] if isinstance(block, ToolResultBlock)]
    for place, block in enumerate(blocks):
        if isinstance(block, ToolResultBlock) and block.tool_use_id not in waiting:
            yield (
                f"messages.{index}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{block.tool_use_id}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                "previous message."
            )
    missing = [call for call in waiting if call not in answered]
    if missing:
        yield (
            f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
            "next message."
        )
    if len(set(answered)) < len(answered):
        yield f"messages.{index}: each `tool_use` must have a single result"
