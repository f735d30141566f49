"""Models: what stands behind the double and decides what it answers."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from aar.messages_api.api_errors import ApiRefusal
from aar.messages_api.context.compaction import plain_summary
from aar.messages_api.replies import Reply, Verbatim
from aar.messages_api.request import Request

Answer: TypeAlias = Reply | Verbatim


@runtime_checkable
class Model(Protocol):
    """Answers requests. It may also have ``summary(request) -> str``, which compaction then asks."""

    def reply(self, request: Request) -> Answer | Awaitable[Answer]:
        """The answer to a request, as the model sees it: after context editing and compaction.

        Raises:
            ApiRefusal: the request is answered with this error instead.
        """
        ...


def _missing(what: str) -> ApiRefusal:
    # No retry would find more: the SDK is told so.
    return ApiRefusal(500, what, {"x-should-retry": "false"})


class Scripted:
    """Answers one after the other, by the order of requests."""

    def __init__(self, replies: Sequence[Answer | str]) -> None:
        self._left = list(replies)

    def reply(self, request: Request) -> Answer:
        """The next answer of the script."""
        if not self._left:
            raise _missing(f"the script has no reply left for request {request.number}")
        return _as_reply(self._left.pop(0))


class ByTurn:
    """Answers by the number of assistant messages in the request, so that a request sent again gets the same one."""

    def __init__(self, replies: Sequence[Answer | str]) -> None:
        self._replies = list(replies)

    def reply(self, request: Request) -> Answer:
        """The answer of this turn."""
        if request.turns >= len(self._replies):
            raise _missing(f"the script has no reply for turn {request.turns}")
        return _as_reply(self._replies[request.turns])


class Function:
    """Answers with what a function of the request returns."""

    def __init__(self, play: Callable[[Request], Any]) -> None:
        self._play = play

    def reply(self, request: Request) -> Answer | Awaitable[Answer]:
        """What the function returns: a reply, a text, or an awaitable of one."""
        played = self._play(request)
        return _awaited(played) if inspect.isawaitable(played) else _as_reply(played)


async def _awaited(played: Awaitable[Any]) -> Answer:
    return _as_reply(await played)


def _as_reply(played: Any) -> Answer:
    return Reply([played]) if isinstance(played, str) else played


def as_model(given: Model | Sequence[Answer | str] | Callable[[Request], Any]) -> Model:
    """A model of what was given: itself, a list of answers in order, or a function."""
    if isinstance(given, Model):
        return given
    return Function(given) if callable(given) else Scripted(given)


async def reply_of(model: Model, request: Request) -> Answer:
    """A model's answer, awaited where it has to be."""
    played = model.reply(request)
    return await played if inspect.isawaitable(played) else played


def summary_of(model: Model, request: Request) -> str:
    """A model's summary of a conversation; a plain one where it writes none."""
    write: Callable[[Request], str] = getattr(model, "summary", plain_summary)
    return write(request)
