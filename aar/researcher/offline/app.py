"""The routes of the offline model server."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from aar.researcher.offline import MODEL, SELF
from aar.researcher.offline.conversation import Conversation, read_conversation
from aar.researcher.offline.reply import Turn, events_of, message_of
from aar.researcher.offline.usage import input_tokens
from aar.researcher.offline.wire import CountRequest, MessageRequest, RequestRefused, read_request

Player = Callable[[Conversation], Turn]
"""Gives a conversation's next turn; a pure function, called in a thread."""


def make_app(play: Player) -> Starlette:
    """An ASGI application that answers the Messages API with the turns of ``play``."""

    async def messages(request: Request) -> Response:
        body = await request.body()
        message, stream = await run_in_threadpool(_answer, play, body)
        headers = {"request-id": _request_id()}
        if not stream:
            return JSONResponse(message, headers=headers)
        return StreamingResponse(iter(list(events_of(message))), media_type="text/event-stream", headers=headers)

    async def count_tokens(request: Request) -> Response:
        body = await request.body()
        counted = await run_in_threadpool(lambda: input_tokens(read_request(CountRequest, body)))
        return JSONResponse({"input_tokens": counted}, headers={"request-id": _request_id()})

    async def models(_: Request) -> Response:
        entry = {"type": "model", "id": MODEL, "display_name": SELF, "created_at": "1970-01-01T00:00:00Z"}
        return JSONResponse({"data": [entry], "has_more": False, "first_id": MODEL, "last_id": MODEL})

    async def refused(_: Request, error: Exception) -> Response:
        if not isinstance(error, RequestRefused):
            raise error
        request_id = _request_id()
        return JSONResponse(error.body(request_id), status_code=error.status, headers={"request-id": request_id})

    async def failed(_: Request, error: Exception) -> Response:
        # The server's own traceback goes to standard error; whoever called reads this.
        broken = RequestRefused(500, "api_error", f"{type(error).__name__}: {error}")
        return JSONResponse(broken.body(_request_id()), status_code=500)

    async def not_found(request: Request, _: Exception) -> Response:
        return await refused(request, RequestRefused(404, "not_found_error", "Not found"))

    async def wrong_method(request: Request, _: Exception) -> Response:
        return await refused(request, RequestRefused(405, "invalid_request_error", "Method not allowed"))

    return Starlette(
        routes=[
            Route("/v1/messages", messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
            Route("/v1/models", models, methods=["GET"]),
        ],
        exception_handlers={RequestRefused: refused, Exception: failed, 404: not_found, 405: wrong_method},
    )


def _answer(play: Player, body: bytes) -> tuple[dict[str, object], bool]:
    request = read_request(MessageRequest, body)
    return message_of(request, play(read_conversation(request))), request.stream


def _request_id() -> str:
    return f"req_{secrets.token_hex(12)}"
