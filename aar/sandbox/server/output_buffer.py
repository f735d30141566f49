"""A bounded output buffer that stores the first and last half of a limit.

The middle is dropped and its bytes are counted.
"""

from __future__ import annotations

import collections

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Callable


class OutputBuffer:
    """Stores output of any length in bounded memory.

    With a ``sink``, the first half goes there as it comes and is not stored, so that a large limit costs no memory.
    """

    def __init__(self, limit: int, sink: Callable[[bytes], object] | None = None) -> None:
        self.head_room = limit - limit // 2
        self.tail_limit = limit // 2
        self.sink = sink
        self.head = bytearray()
        self._tail: collections.deque[bytes] = collections.deque()
        self._tail_size = 0
        self._evicted = 0
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Add the next bytes."""
        self.total += len(data)
        if self.head_room:
            first = data[: self.head_room]
            self.head_room -= len(first)
            if self.sink is not None:
                self.sink(first)
            else:
                self.head += first
            data = data[len(first) :]
        if data:
            self._tail.append(data)
            self._tail_size += len(data)
            while self._tail_size - len(self._tail[0]) >= self.tail_limit and len(self._tail) > 1:
                gone = len(self._tail.popleft())
                self._tail_size -= gone
                self._evicted += gone

    def end(self) -> tuple[bytes, int]:
        """Return the retained tail, and the number of bytes dropped before it."""
        joined = b"".join(self._tail)
        over = max(0, len(joined) - self.tail_limit)
        return joined[over:], self._evicted + over

    def text(self, limit: int | None = None) -> bytes:
        """Return the retained output, shortened to ``limit`` bytes.

        A line marks missing bytes.
        """
        tail, dropped = self.end()
        head = bytes(self.head)
        if limit is not None and len(head) + len(tail) > limit:
            whole = len(head) + len(tail)
            head, tail = (head + tail)[: limit - limit // 2], (head + tail)[whole - limit // 2 :]
            dropped += whole - limit
        if not dropped:
            return head + tail
        return head + b"\n[... %d bytes dropped ...]\n" % dropped + tail
