"""Strict schemas of a request's body, derived from the SDK's own ``TypedDict`` parameters.

The SDK's types are made for writing requests: iterables that pydantic would validate lazily, unions that also take
response objects, no rule for unknown fields. Here each is rebuilt for reading: lists, unions distinguished by ``type``
or ``role``, and no undeclared field. So the fake server accepts every request that the installed SDK can make.
Importing the SDK and building the types takes most of two seconds, which is why nothing is imported before the first
check.
"""

from __future__ import annotations

import collections.abc
import functools
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from pydantic import Discriminator, Tag, TypeAdapter, ValidationError
from typing_extensions import TypedDict, is_typeddict

from aar.messages_api.api_errors import invalid_request

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
