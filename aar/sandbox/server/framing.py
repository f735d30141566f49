"""Frames on the socket: two 32-bit lengths, a JSON header, raw bytes."""

from __future__ import annotations

import collections
import json
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Iterator
    from typing import Any

LENGTHS = struct.Struct(">II")
MAX_HEADER = 1 << 20
MAX_PAYLOAD = 4 << 20
_CHUNK = 1 << 18


class ConnectionLost(Exception):
    """The connection was closed by the controller, or carried an invalid frame."""


class FrameConnection:
    """A non-blocking socket that carries frames.

    Output waits in a queue while the controller is slow.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.queued = 0
        self._inbox = bytearray()
        self._outbox: collections.deque[memoryview] = collections.deque()

    def receive(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield the complete ``(header, payload)`` pairs. Raises ConnectionLost."""
        try:
            data = self.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            raise ConnectionLost from error
        if not data:
            raise ConnectionLost
        inbox = self._inbox
        inbox += data
        while len(inbox) >= LENGTHS.size:
            header_size, payload_size = LENGTHS.unpack_from(inbox)
            if header_size > MAX_HEADER or payload_size > MAX_PAYLOAD:
                raise ConnectionLost
            start = LENGTHS.size + header_size
            if len(inbox) < start + payload_size:
                return
            header = json.loads(bytes(inbox[LENGTHS.size : start]))
            payload = bytes(inbox[start : start + payload_size])
            del inbox[: start + payload_size]
            yield header, payload

    def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
        """Queue a frame and write as much as the socket takes now."""
        encoded = json.dumps(header).encode()
        frame = LENGTHS.pack(len(encoded), len(payload)) + encoded
        self._outbox.append(memoryview(frame))
        self.queued += len(frame)
        if payload:
            self._outbox.append(memoryview(payload))
            self.queued += len(payload)
        self.flush()

    def send_all(self, header: dict[str, Any], payload: bytes, last: dict[str, Any]) -> None:
        """Queue a payload of any size as frames of ``header``, then the frame ``last``."""
        view = memoryview(payload)
        for start in range(0, len(view), MAX_PAYLOAD):
            self.send(header, view[start : start + MAX_PAYLOAD])
        self.send(last)

    def flush(self) -> None:
        """Write as much as the socket takes now.

        A broken socket shows up at the next ``receive``.
        """
        outbox = self._outbox
        try:
            while outbox:
                sent = self.sock.send(outbox[0])
                self.queued -= sent
                if sent < len(outbox[0]):
                    outbox[0] = outbox[0][sent:]
                    return
                outbox.popleft()
        except BlockingIOError:
            return
        except OSError:
            outbox.clear()
            self.queued = 0
