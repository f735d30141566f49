"""Request bodies as bytes, with the unchanged part of a conversation encoded once and not at every turn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


class MessageEncoder:
    """Encodes the messages of one growing conversation.

    A message that is the very object it was at that place before is not encoded again, so messages must be replaced
    and never changed in place.
    """

    def __init__(self) -> None:
        self._known: list[tuple[Mapping[str, Any], bytes]] = []

    def encode(self, messages: Sequence[Mapping[str, Any]]) -> bytes:
        """The messages as a JSON array."""
        known = self._known
        self._known = [
            known[place] if place < len(known) and known[place][0] is message else (message, compact(message))
            for place, message in enumerate(messages)
        ]
        return b"[" + b",".join(encoded for _, encoded in self._known) + b"]"


def compact(value: Any) -> bytes:
    """A value as JSON in UTF-8, without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def body(fields: Mapping[str, Any], messages: bytes) -> bytes:
    """A request body: ``fields`` and the encoded messages."""
    return compact(fields)[:-1] + b',"messages":' + messages + b"}"
