"""An event loop over epoll with timers and a wake-up on SIGCHLD."""

from __future__ import annotations

import heapq
import itertools
import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Callable
    from typing import Any

READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class EventLoop:
    """Calls functions on ready descriptors, due timers and changed children."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[int], object]] = {}
        self._timers: list[list[Any]] = []
        self._order = itertools.count()
        self.stopping = False
        self.each_round: Callable[[], object] | None = None

    def watch(self, fd: int, events: int, function: Callable[[int], object]) -> None:
        """Call ``function(mask)`` when ``fd`` is ready. Replaces the former watch."""
        if fd in self._watched:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._watched[fd] = function

    def forget(self, fd: int) -> None:
        """Stop watching ``fd``."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, seconds: float, function: Callable[[], object]) -> list[Any]:
        """Call ``function()`` after some seconds. Returns a handle for ``cancel``."""
        entry = [time.monotonic() + seconds, next(self._order), function]
        heapq.heappush(self._timers, entry)
        return entry

    @staticmethod
    def cancel(entry: list[Any] | None) -> None:
        """Cancel a timer."""
        if entry is not None:
            entry[2] = None

    def on_child(self, function: Callable[[], object]) -> None:
        """Call ``function()`` after a SIGCHLD."""
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

        def woken(_mask: int) -> None:
            os.read(read, 4096)
            function()

        self.watch(read, READ, woken)

    def run(self) -> None:
        """Run until ``stopping``."""
        while not self.stopping:
            while self._timers and self._timers[0][2] is None:
                heapq.heappop(self._timers)
            wait = -1.0
            if self._timers:
                wait = max(0.0, self._timers[0][0] - time.monotonic())
            ready = [(self._watched[fd], fd, mask) for fd, mask in self._epoll.poll(wait)]
            for function, fd, mask in ready:
                if self._watched.get(fd) is function:  # not forgotten by a call just before
                    function(mask)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                function = heapq.heappop(self._timers)[2]
                if function is not None:
                    function()
            if self.each_round is not None:
                self.each_round()
