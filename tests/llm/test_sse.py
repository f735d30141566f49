"""The reader of server-sent events: pieces cut anywhere, and bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from aar.llm.sse import _END as END
from aar.llm.sse import read_event_batches

pytestmark = pytest.mark.anyio


async def test_an_event_that_never_ends_is_read_once_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pieces(text: bytes, size: int) -> AsyncIterator[bytes]:
        for at in range(0, len(text), size):
            yield text[at : at + size]

    searched = 0

    class Counting:
        def search(self, text: bytes) -> Any:
            nonlocal searched
            searched += len(text)
            return END.search(text)

        def split(self, text: bytes) -> list[bytes]:
            nonlocal searched
            searched += len(text)
            return END.split(text)

    monkeypatch.setattr("aar.llm.sse._END", Counting())
    text = b'data: {"a": "' + b"x" * 100_000 + b'"}\r\n\r\ndata: {"b": 1}\n\n'
    for size in (7, 64):
        searched = 0
        found = [event async for batch in read_event_batches(pieces(text, size)) for event in batch]
        assert [list(event) for event in found] == [["a"], ["b"]]
        assert searched < 3 * len(text)
    monkeypatch.setattr("aar.llm.sse.LONGEST_EVENT", 1000)
    with pytest.raises(ValueError, match="an event of over 1000 bytes"):
        [event async for event in read_event_batches(pieces(text, 64))]
