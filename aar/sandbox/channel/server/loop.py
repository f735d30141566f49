"""A selector loop with timers and a wake-up on SIGCHLD."""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Callable
    from typing import Any


class Loop:
    """Calls functions when a descriptor is ready, a moment has come, or a child changed."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[list[Any]] = []
        self._order = itertools.count()
        self.stopping = False
        self.each_round: Callable[[], object] | None = None

    def watch(self, fd: Any, events: int, function: Callable[[int], object] | None) -> None:
        """Call ``function(mask)`` when ``fd`` is ready; replaces what was watched there; no events: stop."""
        try:
            if not events:
                self._selector.unregister(fd)
            else:
                self._selector.modify(fd, events, function)
        except KeyError:
            if events:
                self._selector.register(fd, events, function)

    def later(self, seconds: float, function: Callable[[], object]) -> list[Any]:
        """Call ``function()`` after so many seconds; returns a handle for ``cancel``."""
        entry = [time.monotonic() + seconds, next(self._order), function]
        heapq.heappush(self._timers, entry)
        return entry

    @staticmethod
    def cancel(entry: list[Any] | None) -> None:
        """Forget a timer."""
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

        self.watch(read, selectors.EVENT_READ, woken)

    def run(self) -> None:
        """Run until ``stopping``."""
        while not self.stopping:
            while self._timers and self._timers[0][2] is None:
                heapq.heappop(self._timers)
            wait = None
            if self._timers:
                wait = max(0.0, self._timers[0][0] - time.monotonic())
            for key, mask in self._selector.select(wait):
                current = self._selector.get_map().get(key.fd)
                if current is not None and current.data == key.data:  # not closed by a call just before
                    key.data(mask)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                function = heapq.heappop(self._timers)[2]
                if function is not None:
                    function()
            if self.each_round is not None:
                self.each_round()
