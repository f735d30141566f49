"""Model backends, which decide the replies of the fake server."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from aar.testing.fake_messages_api.context_management import default_summary
from aar.testing.fake_messages_api.replies import ModelReply, VerbatimResponse
from aar.testing.fake_messages_api.request import ApiError, MessagesRequest

Answer: TypeAlias = ModelReply | VerbatimResponse


@runtime_checkable
class ModelBackend(Protocol):
    """Replies to requests.

    It may also have ``summary(request) -> str``, which compaction then calls.
    """

    def reply(self, request: MessagesRequest) -> Answer | Awaitable[Answer]:
        """Return the reply to a request, as the model sees it.

        The request is that after context editing and compaction.

        Raises:
            ApiError: the response is this error instead.
        """
        ...


def _missing(what: str) -> ApiError:
    # Retries are pointless: the header makes the SDK stop.
    return ApiError(500, what, {"x-should-retry": "false"})


class ScriptedModel:
    """Returns scripted replies in the order of requests."""

    def __init__(self, replies: Sequence[Answer | str]) -> None:
        self._left = list(replies)

    def reply(self, request: MessagesRequest) -> Answer:
        """Return the next reply of the script."""
        if not self._left:
            raise _missing(f"the script has no reply left for request {request.number}")
        return _as_reply(self._left.pop(0))


class ModelByTurn:
    """Returns replies by the number of assistant messages in the request.

    A request that is sent again gets the same one.
    """

    def __init__(self, replies: Sequence[Answer | str]) -> None:
        self._replies = list(replies)

    def reply(self, request: MessagesRequest) -> Answer:
        """Return the reply of this turn."""
        if request.turns >= len(self._replies):
            raise _missing(f"the script has no reply for turn {request.turns}")
        return _as_reply(self._replies[request.turns])


class FunctionModel:
    """Returns the result of a function of the request."""

    def __init__(self, play: Callable[[MessagesRequest], Any]) -> None:
        self._play = play

    def reply(self, request: MessagesRequest) -> Answer | Awaitable[Answer]:
        """Return the function's result: a reply, a text, or an awaitable of one."""
        played = self._play(request)
        return _awaited(played) if inspect.isawaitable(played) else _as_reply(played)


async def _awaited(played: Awaitable[Any]) -> Answer:
    return _as_reply(await played)


def _as_reply(played: Any) -> Answer:
    return ModelReply([played]) if isinstance(played, str) else played


def as_model(given: ModelBackend | Sequence[Answer | str] | Callable[[MessagesRequest], Any]) -> ModelBackend:
    """Convert a model, a list of replies in order, or a function to a model."""
    if isinstance(given, ModelBackend):
        return given
    return FunctionModel(given) if callable(given) else ScriptedModel(given)


async def get_reply(model: ModelBackend, request: MessagesRequest) -> Answer:
    """Return a model's reply, awaited where necessary."""
    played = model.reply(request)
    return await played if inspect.isawaitable(played) else played


def get_summary(model: ModelBackend, request: MessagesRequest) -> str:
    """Return a model's summary of a conversation, or a default summary."""
    write: Callable[[MessagesRequest], str] = getattr(model, "summary", default_summary)
    return write(request)
