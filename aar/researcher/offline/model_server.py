"""The offline model server: the few parts of the Messages API that a researcher needs, with a search program behind."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aar.researcher.offline import OFFLINE_MODEL_ID
from aar.researcher.offline.conversation import (
    InvalidConversation,
    ObservedConversation,
    PlannedTurn,
    parse_conversation,
)

TurnFunction = Callable[[ObservedConversation], PlannedTurn]
"""Returns a conversation's next turn; a pure function, called in a thread."""

_BYTES_PER_TOKEN = 4
_PIECE = 400
"""Characters of one delta of a stream."""
_MODEL = {
    "type": "model",
    "id": OFFLINE_MODEL_ID,
    "display_name": OFFLINE_MODEL_ID,
    "created_at": "1970-01-01T00:00:00Z",
    "max_input_tokens": 1_000_000,
    "max_tokens": 128_000,
}
_KINDS = {404: "not_found_error", 405: "invalid_request_error"}


def make_app(play: TurnFunction) -> Starlette:
    """Return an ASGI application that answers the Messages API with the turns of ``play``. Nothing is logged."""

    async def messages(request: Request) -> Response:
        body = await _read(request)
        most = body.get("max_tokens")
        if not isinstance(most, int) or most < 1:
            raise InvalidConversation("max_tokens: a number above 0 is required")
        turn = await asyncio.to_thread(play, parse_conversation(body))
        message = _message(body, turn.content(), most)
        headers = {"request-id": _new_id("req")}
        if not body.get("stream"):
            return Response(json.dumps(message), media_type="application/json", headers=headers)
        events = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in _events(message))
        return Response(events, media_type="text/event-stream", headers=headers)

    async def count_tokens(request: Request) -> Response:
        body = await _read(request)
        parse_conversation(body)
        return JSONResponse({"input_tokens": _prompt_tokens(body)})

    async def model(request: Request) -> Response:
        _check_model(request.path_params["model"])
        return JSONResponse(_MODEL)

    async def models(_: Request) -> Response:
        return JSONResponse({"data": [_MODEL], "first_id": None, "has_more": False, "last_id": None})

    return Starlette(
        routes=[
            Route("/v1/messages", messages, methods=["POST"]),
            Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{model}", model),
        ],
        exception_handlers={InvalidConversation: _refuse, HTTPException: _refuse},
    )


async def _read(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except (ValueError, RecursionError) as error:
        raise InvalidConversation(f"The request body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidConversation("The request body must be a JSON object")
    _check_model(body.get("model"))
    return body


def _check_model(model: object) -> None:
    if model != OFFLINE_MODEL_ID:
        raise HTTPException(404, f"model: {model}")


async def _refuse(_: Request, error: Exception) -> Response:
    status, text = (error.status_code, error.detail) if isinstance(error, HTTPException) else (400, str(error))
    kind = _KINDS.get(status, "invalid_request_error")
    request_id = _new_id("req")
    body = {"type": "error", "error": {"type": kind, "message": text}, "request_id": request_id}
    return JSONResponse(body, status, headers={"request-id": request_id})


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def _prompt_tokens(body: Mapping[str, Any]) -> int:
    return _tokens(json.dumps([body.get(part) or [] for part in ("system", "tools", "messages")], ensure_ascii=False))


def _tokens(text: str) -> int:
    """Return an approximate count: one token per four bytes."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


def _message(body: Mapping[str, Any], content: Sequence[dict[str, Any]], most: int) -> dict[str, Any]:
    written = sum(_tokens(block.get("text") or json.dumps(block["input"])) for block in content)
    reason = "tool_use" if any(block["type"] == "tool_use" for block in content) else "end_turn"
    if written > most:  # a call that is cut short is no call
        cut = next((block["text"] for block in content if block["type"] == "text"), "")[: most * _BYTES_PER_TOKEN]
        content, written, reason = [{"type": "text", "text": cut}] if cut else [], most, "max_tokens"
    return {
        "id": _new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": OFFLINE_MODEL_ID,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": _prompt_tokens(body), "output_tokens": written},
    }


def _events(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    usage = message["usage"]
    yield {
        "type": "message_start",
        "message": {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}},
    }
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            start, kind, field, text = {**block, "text": ""}, "text_delta", "text", block["text"]
        else:
            start, kind, field = {**block, "input": {}}, "input_json_delta", "partial_json"
            text = json.dumps(block["input"])
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for at in range(0, len(text), _PIECE):
            yield {
                "type": "content_block_delta",
                "index": index,
                "delta": {"type": kind, field: text[at : at + _PIECE]},
            }
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
        "usage": usage,
    }
    yield {"type": "message_stop"}
