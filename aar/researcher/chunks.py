"""Taking the framing off an HTTP/1.1 reply's body (RFC 9112, sections 6 and 7), however many chunks come at once.

A streamed reply has a chunk for each event, hundreds a turn. Here a read's whole bytes go through in one call; to build
an object for each chunk, as HTTP libraries do, was most of what a turn cost the controller.
"""

from __future__ import annotations

import re
from typing import Protocol

_LONGEST_LINE = 16_384
_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r?")


class Framing(Protocol):
    """What a body's bytes are wrapped in."""

    done: bool
    """The body is whole."""

    def feed(self, data: bytes) -> bytes:
        """The body's part of what came in. Raises ValueError where it is malformed."""
        ...

    def end(self) -> None:
        """The connection is at its end. Raises ValueError where the body needed more."""
        ...


class Counted:
    """A body of a length told ahead."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> bytes:
        """All of it; more than was told is an error."""
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("more bytes than the reply's length")
        self.done = self._left == 0
        return data

    def end(self) -> None:
        """The rest is missing."""
        raise ValueError(f"connection closed {self._left} bytes before the end of the reply")


class UntilClose:
    """A body that ends with its connection."""

    done = False

    def feed(self, data: bytes) -> bytes:
        """All of it."""
        return data

    def end(self) -> None:
        """That is its end."""


class Chunked:
    """A body in chunks, each with its size ahead and a line's end behind; trailers are passed over."""

    def __init__(self) -> None:
        self.done = False
        self._rest = b""
        """Of a line that is not whole yet."""
        self._left = 0
        """Bytes of the present chunk still to come."""
        self._in_trailer = False
        self._after_data = False

    def feed(self, data: bytes) -> bytes:
        """The chunks' content, joined."""
        data = self._rest + data if self._rest else data
        parts: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            if self.done:
                raise ValueError("bytes after the last chunk")
            if self._left:
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                continue
            stop = data.find(b"\n", at)
            if stop < 0:
                break
            self._line(data[at:stop])
            at = stop + 1
        self._rest = data[at:]
        if len(self._rest) > _LONGEST_LINE:
            raise ValueError("a chunk's size has no end")
        return b"".join(parts)

    def end(self) -> None:
        """A chunk is missing."""
        raise ValueError("connection closed before the last chunk of the reply")

    def _line(self, line: bytes) -> None:
        if self._in_trailer:
            self.done = line in (b"", b"\r")
        elif self._after_data:
            if line not in (b"", b"\r"):
                raise ValueError("a chunk is longer than its size")
            self._after_data = False
        elif found := _SIZE.fullmatch(line):
            self._left = int(found[1], 16)
            self._after_data, self._in_trailer = self._left > 0, self._left == 0
        else:
            raise ValueError(f"not a chunk's size: {line[:40]!r}")
