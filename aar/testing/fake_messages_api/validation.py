"""Validates a request: types as in the SDK, order of roles, pairs of calls and results, limits, images."""

from __future__ import annotations

import binascii
import collections.abc
import functools
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from pydantic import Discriminator, Tag, TypeAdapter, ValidationError
from typing_extensions import TypedDict, is_typeddict

from aar.testing.fake_messages_api.model_specs import ModelSpec
from aar.testing.fake_messages_api.request import ContentBlock, Message, MessagesRequest, invalid_request
from aar.testing.fake_messages_api.thinking import thinking_config_errors

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


_IN_HEADERS = frozenset({"betas", "user_profile_id", "workspace_id"})
"""Parameters of the SDK's methods that travel as headers."""
_SAMPLING = dict.fromkeys(("temperature", "top_p"), NotRequired[float]) | {"top_k": NotRequired[int]}
"""Fields that only API version 2023-06-01 accepts."""
_WORDS = {"<str>": "a string", "<list>": "a list", "<dict>": "an object", "<other>": "a plain value"}
"""Members of a union that no field distinguishes."""


def validate_body(body: Mapping[str, Any], *, counting: bool, beta: bool, version: str) -> None:
    """Check a body against the SDK's types.

    Args:
        body: the request.
        counting: True for ``count_tokens``.
        beta: the types of ``client.beta.messages``.
        version: the ``anthropic-version`` header.

    Raises:
        ApiError: the first invalid value, with its path.
    """
    try:
        _adapter(counting, beta, version <= "2023-06-01").validate_python(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise invalid_request(f"{_path(first['loc'])}: {first['msg']}") from error


def _path(loc: tuple[int | str, ...]) -> str:
    # Marks of unions that have no name in the request stand in angle brackets.
    return ".".join(str(part) for part in loc if not str(part).startswith("<")) or "body"


@functools.cache
def _adapter(counting: bool, beta: bool, sampling: bool) -> TypeAdapter[Any]:
    if beta:
        from anthropic.types.beta import message_count_tokens_params as count
        from anthropic.types.beta import message_create_params as create
    else:
        from anthropic.types import message_count_tokens_params as count  # type: ignore[no-redef]
        from anthropic.types import message_create_params as create  # type: ignore[no-redef]
    base = count.MessageCountTokensParams if counting else create.MessageCreateParamsBase
    fields = {name: hint for name, hint in _fields(base, {}).items() if name not in _IN_HEADERS}
    if not counting:
        fields["stream"] = NotRequired[bool]
        fields |= _SAMPLING if sampling else {}
    return TypeAdapter(_closed(f"{base.__name__}Body", fields))


def _fields(kind: Any, known: dict[Any, Any]) -> dict[str, Any]:
    """Return names and rebuilt types of a TypedDict.

    The SDK marks required fields, and nothing else.
    """
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        required = get_origin(hint) is Required
        inner = _rebuilt(get_args(hint)[0] if required else hint, known)
        fields[name] = Required[inner] if required else NotRequired[inner]
    return fields


def _closed(name: str, fields: Mapping[str, Any], *, extra: Literal["allow", "forbid"] = "forbid") -> Any:
    make: Any = TypedDict
    rebuilt = make(name, dict(fields))
    rebuilt.__pydantic_config__ = {"extra": extra, "strict": True}
    return rebuilt


def _rebuilt(hint: Any, known: dict[Any, Any]) -> Any:
    origin = get_origin(hint)
    if origin is Annotated:
        return _rebuilt(get_args(hint)[0], known)
    if origin in (Union, types.UnionType):
        return _union(hint, known)
    if origin in (list, collections.abc.Iterable, collections.abc.Sequence):
        return list[_rebuilt(get_args(hint)[0], known)]  # type: ignore[misc]
    if origin is dict:
        return dict[str, Any]
    if hint is object:
        return Any
    if not is_typeddict(hint):
        return hint
    if hint not in known:
        known[hint] = dict[str, Any]  # the stand-in for a type that contains itself
        extra = getattr(hint, "__pydantic_config__", {}).get("extra", "forbid")
        known[hint] = _closed(hint.__name__, _fields(hint, known), extra=extra)
    return known[hint]


def _members(hint: Any) -> list[Any]:
    if get_origin(hint) is Annotated:
        return _members(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [member for part in get_args(hint) for member in _members(part)]
    return [hint]


def _union(hint: Any, known: dict[Any, Any]) -> Any:
    members = _members(hint)
    optional = type(None) in members
    dicts = [member for member in members if is_typeddict(member)]
    choices, field, fallback = _tagged(dicts, known)
    if len(dicts) == 1 and any(get_origin(member) is dict for member in members):
        # A typed object beside an open one, such as a JSON schema: named fields are checked, the others are free.
        choices = {"<dict>": _closed(dicts[0].__name__, _fields(dicts[0], known), extra="allow")}
    strings = [member for member in members if member is str or get_origin(member) is Literal]
    if strings:
        choices["<str>"] = str if str in strings else _either(strings)
    lists = [m for m in members if get_origin(m) in (list, collections.abc.Iterable, collections.abc.Sequence)]
    if lists:
        choices["<list>"] = _rebuilt(lists[0], known)
    plain = [member for member in members if member in (bool, int, float)]
    if plain:
        choices["<other>"] = _either(plain)
    if not choices:
        # Only an open object is left, or a class that cannot come over the wire.
        return dict[str, Any]
    if len(choices) == 1 and not field:
        (only,) = choices.values()
        return only | None if optional else only
    tagged: Any = Union[tuple(Annotated[kind, Tag(tag)] for tag, kind in choices.items())]  # noqa: UP007
    named = ", ".join(repr(tag.strip("<>")) for tag in choices if field and tag not in _WORDS)
    message = f"Input tag found using '{field}' does not match any of the expected tags: {named}"
    message = message if field else f"Input should be {' or '.join(_WORDS[tag] for tag in choices)}"
    teller = Discriminator(
        _teller(field, fallback), custom_error_type="union_tag_invalid_here", custom_error_message=message
    )
    told: Any = Annotated[tagged, teller]
    return told | None if optional else told


def _either(kinds: list[Any]) -> Any:
    return Union[tuple(kinds)]  # noqa: UP007


def _tagged(dicts: list[Any], known: dict[Any, Any]) -> tuple[dict[str, Any], str, str]:
    """Return choices by tag, the tag's field, and the tag of the untagged choice."""
    if len(dicts) == 1:
        return {"<dict>": _rebuilt(dicts[0], known)}, "", ""
    choices: dict[str, Any] = {}
    fallback = ""
    field = next((name for name in ("role", "type") if all(name in get_type_hints(d) for d in dicts)), "")
    for kind in dicts:
        hint = get_type_hints(kind, include_extras=True).get(field)
        for value in _literals(hint):
            # A role is a field of the message itself: it has no place in a path.
            choices[f"<{value}>" if field == "role" else value] = _rebuilt(kind, known)
            fallback = fallback if get_origin(hint) is Required else value
    return choices, field if dicts else "", fallback


def _literals(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [value for value in get_args(hint) if isinstance(value, str)]
    return [value for part in get_args(hint) for value in _literals(part)]


def _teller(field: str, fallback: str) -> Callable[[Any], str | None]:
    def tell(value: Any) -> str | None:
        if isinstance(value, str):
            return "<str>"
        if isinstance(value, list):
            return "<list>"
        if not isinstance(value, dict):
            return "<other>"
        if not field:
            return "<dict>"
        tag = value.get(field) or fallback
        return f"<{tag}>" if field == "role" else tag

    return tell


MOST_IMAGE_BYTES = 10 * 1024 * 1024
"""Longest base64 of one image, in bytes (platform.claude.com/docs, "Vision")."""

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def image_errors(blocks: Sequence[ContentBlock]) -> Iterator[str]:
    """Yield errors in the images of these blocks, those inside tool results included."""
    for block in blocks:
        if block.kind == "image":
            yield from _image(block.data, block.at)
        inner = block.data.get("content") if block.kind == "tool_result" else None
        if isinstance(inner, list):
            yield from image_errors([ContentBlock(item, f"{block.at}.content.{i}") for i, item in enumerate(inner)])


def _image(data: Mapping[str, Any], at: str) -> Iterator[str]:
    source = data["source"]
    if source.get("type") != "base64":
        return
    text, media_type = str(source.get("data", "")), source.get("media_type")
    if len(text) > MOST_IMAGE_BYTES:
        yield f"{at}.image.source.base64: image exceeds {MOST_IMAGE_BYTES // 2**20} MB maximum: {len(text)} bytes"
        return
    try:
        head = binascii.a2b_base64(text, strict_mode=True)[:16]
    except ValueError:
        yield f"{at}.image.source.base64: invalid base64 data"
        return
    found = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    if found is None:
        yield f"{at}.image.source.base64.data: Could not process image"
    elif found != media_type:
        yield (
            f"{at}.image.source.base64: The image was specified using the {media_type} media type, "
            f"but the image appears to be a {found} image"
        )
