"""Recordings of real exchanges: written to a file without keys, and replayed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from aar.errors import DataMissing
from aar.testing.fake_messages_api.replies import VerbatimResponse, compact_json
from aar.testing.fake_messages_api.request import ApiError, MessagesRequest, RequestHeaders, new_request_id, read_json
from aar.testing.fake_messages_api.transport import Receive, ResponseChannel, Scope, Send

_ASKED = ("anthropic-version", "anthropic-beta", "content-type")
_ANSWERED = ("content-type", "request-id", "retry-after", "retry-after-ms")
_LIMITS = "anthropic-ratelimit-"
_MOST_BYTES = 64 * 1024 * 1024


def request_digest(body: Mapping[str, Any]) -> str:
    """Return a digest that identifies a request: all of it but its metadata."""
    known = {key: value for key, value in body.items() if key != "metadata"}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode("utf-8", "replace")).hexdigest()


class RecordingProxy:
    """A proxy that passes requests to a real service and records each exchange.

    It is an ASGI application; each exchange becomes a line of JSON.

    Only headers known to contain no secret are written, and the caller's key is taken out of everything else.

    Args:
        base_url: the service, such as ``https://api.anthropic.com``.
        path: the file; lines are added.
        timeout: longest silence of the service, in seconds.
    """

    def __init__(self, base_url: str, path: Path, timeout: float = 600.0) -> None:
        self._path = path
        self._client = httpx.AsyncClient(base_url=base_url, timeout=timeout)
        self._number = 0

    async def close(self) -> None:
        """Close the connections to the service."""
        await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve an ASGI connection."""
        incoming, channel = RequestHeaders(scope), ResponseChannel(scope, receive, send)
        raw = await channel.body(_MOST_BYTES)
        headers = {key: value for key, value in incoming.shown_headers().items() if key in _ASKED}
        query = incoming.query.decode("latin-1")
        asked = self._client.build_request(
            incoming.method,
            f"{incoming.path}?{query}" if query else incoming.path,
            content=raw,
            headers={**headers, **incoming.key_headers(), "accept-encoding": "identity"},
        )
        try:
            answer = await self._client.send(asked, stream=True)
        except httpx.HTTPError as error:
            refusal = ApiError(502, f"the service cannot be reached: {type(error).__name__}")
            body = compact_json(refusal.body(new_request_id())).encode()
            await channel.whole(502, body, {"content-type": "application/json"})
            return
        shown = {k: v for k, v in answer.headers.items() if k in _ANSWERED or k.startswith(_LIMITS)}
        pieces: list[bytes] = []
        try:
            await channel.start(answer.status_code, shown)
            async for piece in answer.aiter_bytes():
                pieces.append(piece)
                await channel.piece(piece)
            await channel.piece(b"", more=False)
        finally:
            await answer.aclose()
            self._write(incoming, raw, headers, answer.status_code, shown, b"".join(pieces))

    def _write(
        self,
        incoming: RequestHeaders,
        raw: bytes,
        asked: Mapping[str, str],
        status: int,
        answered: Mapping[str, str],
        body: bytes,
    ) -> None:
        request = read_json(raw) if raw else {}
        entry = {
            "number": self._number,
            "method": incoming.method,
            "path": incoming.path,
            "query": incoming.query.decode("latin-1"),
            "digest": request_digest(request),
            "request_headers": asked,
            "request": request,
            "status": status,
            "headers": answered,
            "body": body.decode("utf-8", "replace"),
        }
        self._number += 1
        line = compact_json(entry)
        if incoming.key:
            line = line.replace(compact_json(incoming.key)[1:-1], "[key]")
        with self._path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(line + "\n")


class ReplayModel:
    """A model that replays a service's recorded responses.

    A recorded request gets its own response; another one gets the next response in order, unless ``exact``.

    Args:
        path: the file of a ``RecordingProxy``.
        exact: reply only to recorded requests.

    Raises:
        DataMissing: there is no such recording.
    """

    def __init__(self, path: Path, *, exact: bool = False) -> None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            entries = [json.loads(line) for line in lines if line]
        except (OSError, ValueError) as error:
            raise DataMissing(
                f"no recording of exchanges at {path}: {error}", "Record one with a RecordingProxy"
            ) from error
        self._left = [entry for entry in entries if entry["path"] == "/v1/messages"]
        self._exact = exact

    def reply(self, request: MessagesRequest) -> VerbatimResponse:
        """Return the recorded response."""
        digest = request_digest(request.body)
        at = next((index for index, entry in enumerate(self._left) if entry["digest"] == digest), None)
        if at is None and (self._exact or not self._left):
            raise ApiError(500, "this request was not recorded", {"x-should-retry": "false"})
        entry = self._left.pop(at or 0)
        return VerbatimResponse(int(entry["status"]), dict(entry["headers"]), str(entry["body"]).encode())
