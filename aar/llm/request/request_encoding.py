"""Encodes request bodies.

Encodes the unchanged part of a conversation once, not at every turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


class MessageEncoder:
    """Encodes the messages of one growing conversation.

    A message that is the same object as before at its place is not encoded again. So replace messages, and never change
    them in place.
    """

    def __init__(self) -> None:
        self._fields: Mapping[str, Any] | None = None
        self._prefix = b""
        self._known: list[tuple[Mapping[str, Any], bytes]] = []

    def body(self, fields: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> bytes:
        """Encode a request body of ``fields`` and the messages.

        Most fields equal those of the last body.
        """
        if fields != self._fields:
            self._fields, self._prefix = fields, encode_json(fields)[:-1] + b',"messages":'
        return self._prefix + self.encode(messages) + b"}"

    def encode(self, messages: Sequence[Mapping[str, Any]]) -> bytes:
        """Encode the messages as a JSON array."""
        known = self._known
        self._known = [
            known[place] if place < len(known) and known[place][0] is message else (message, encode_json(message))
            for place, message in enumerate(messages)
        ]
        return b"[" + b",".join(encoded for _, encoded in self._known) + b"]"


def encode_json(value: Any) -> bytes:
    """Encode a value as JSON in UTF-8, without spaces.

    Raises ValueError for NaN and infinity.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
