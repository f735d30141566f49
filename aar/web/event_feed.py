"""Follows the event log for all watchers: one poll per campaign."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from aar.errors import DatabaseError
from aar.store.database import Database
from aar.store.event_log import LoggedEvent, latest_event_id, read_events

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 2.0
_POLL_SECONDS = 0.1
_BREATH_SECONDS = 0.03
"""Minimum between two polls, however much is written."""
_BATCH = 200
_TAIL = 1000


@dataclass(slots=True)
class _Tail:
    """The newest events of one campaign: all after ``floor`` up to ``newest``."""

    floor: int
    newest: int
    events: deque[LoggedEvent] = field(default_factory=deque)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    nudged: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: int = 0
    task: asyncio.Task[None] | None = None

    def extend(self, events: list[LoggedEvent]) -> None:
        self.events.extend(events)
        self.newest = events[-1].id
        while len(self.events) > _TAIL:
            self.floor = self.events.popleft().id
        self.wake()

    def wake(self) -> None:
        self.moved.set()
        self.moved = asyncio.Event()


class EventFeed:
    """A feed of new events to any number of watchers.

    It polls the log once per watched campaign.

    Writes of this process are delivered at once; polling also finds writes of other processes.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._tails: dict[str, _Tail] = {}
        self._polls: set[asyncio.Task[None]] = set()
        self._controllers: dict[str, str] = {}
        self._closed = False
        self._unlisten: Callable[[], None] | None = None

    async def follow(self, campaign_id: str, after: int, *, idle: float) -> AsyncIterator[LoggedEvent | None]:
        """Yields all events after a cursor, then new ones.

        Yields None whenever ``idle`` seconds passed without one.

        Ends when the feed is closed.
        """
        # A cursor beyond the log (of another database, or invented) must not delay all other watchers.
        latest = await self._db.read(partial(latest_event_id, campaign_id=campaign_id))
        if self._closed:
            return
        tail = self._join(campaign_id, min(after, latest))
        cursor = after
        try:
            while not self._closed:
                moved = tail.moved
                batch = await self._next(tail, campaign_id, cursor)
                for event in batch:
                    cursor = event.id
                    yield event
                if batch or self._closed:
                    continue
                try:
                    async with asyncio.timeout(idle):
                        await moved.wait()
                except TimeoutError:
                    yield None
        finally:
            self._leave(campaign_id, tail)

    def newest_event_id(self, campaign_id: str) -> int:
        """Returns the newest event sent to this campaign's watchers; -1 without watchers."""
        tail = self._tails.get(campaign_id)
        return -1 if tail is None else tail.newest

    def set_controller_state(self, campaign_id: str, state: str) -> None:
        """Stores the state of a campaign's controller; its death writes no event."""
        self._controllers[campaign_id] = state

    def controller_state(self, campaign_id: str) -> str:
        """Returns the last state from ``set_controller_state``; empty before."""
        return self._controllers.get(campaign_id, "")

    def close(self) -> None:
        """Ends every watcher's stream, so that a server can stop."""
        self._closed = True
        for tail in self._tails.values():
            if tail.task is not None:
                tail.task.cancel()
            tail.wake()
        self._listen(None)

    async def ended(self) -> None:
        """Waits until all tasks of a closed feed have ended."""
        while self._polls:
            await asyncio.wait(self._polls)

    async def _next(self, tail: _Tail, campaign_id: str, cursor: int) -> list[LoggedEvent]:
        if cursor >= tail.newest:
            return []
        if cursor >= tail.floor:
            return [event for event in tail.events if event.id > cursor]
        return await self._read(campaign_id, cursor)

    async def _read(self, campaign_id: str, after: int) -> list[LoggedEvent]:
        return await self._db.read(partial(read_events, campaign_id=campaign_id, after=after, limit=_BATCH))

    def _join(self, campaign_id: str, after: int) -> _Tail:
        tail = self._tails.get(campaign_id)
        if tail is None:
            tail = self._tails[campaign_id] = _Tail(floor=after, newest=after)
            tail.task = asyncio.create_task(self._poll(campaign_id, tail))
            self._polls.add(tail.task)
            tail.task.add_done_callback(self._polls.discard)
            self._listen(asyncio.get_running_loop())
        tail.watchers += 1
        return tail

    def _leave(self, campaign_id: str, tail: _Tail) -> None:
        tail.watchers -= 1
        if tail.watchers == 0:
            if tail.task is not None:
                tail.task.cancel()
            self._tails.pop(campaign_id, None)
            if not self._tails:
                self._listen(None)

    def _listen(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Subscribes to this process's writes in the watchers' loop, or unsubscribes."""
        if loop is None and self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        elif loop is not None and self._unlisten is None:
            self._unlisten = self._db.listen(lambda: _call(loop, self._nudge))

    def _nudge(self) -> None:
        for tail in self._tails.values():
            tail.nudged.set()

    async def _poll(self, campaign_id: str, tail: _Tail) -> None:
        while not self._closed and self._tails.get(campaign_id) is tail:
            tail.nudged.clear()
            try:
                events = await self._read(campaign_id, tail.newest)
            except DatabaseError as error:
                _log.warning("watchers of %s wait: %s", campaign_id, error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if events:
                tail.extend(events)
            if len(events) < _BATCH:
                await asyncio.sleep(_BREATH_SECONDS)
                # Not wait_for, which on Python 3.11 loses a cancellation that coincides with the result.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS):
                        await tail.nudged.wait()


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: there are no watchers any more
        loop.call_soon_threadsafe(what)
