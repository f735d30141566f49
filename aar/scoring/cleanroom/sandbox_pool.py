"""A pool of warm sandboxes, so that submissions do not wait for their creation.

A sandbox leaves the pool for one run and never comes back; a new one replaces it. An idle sandbox has a name, a
folder and a lifetime like any other, so one left by a killed process is swept, or ends by itself.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import structlog
from anyio import CancelScope, CapacityLimiter
from anyio.abc import TaskGroup

from aar.errors import AarError
from aar.scoring.cleanroom.run_sandbox import RunSandbox
from aar.scoring.exception_groups import unwrap_exception_group

log = structlog.get_logger(__name__)

_CHECK_SECONDS = 60.0
_ANSWER_SECONDS = 5.0

Cores = tuple[int, ...]


class SandboxPool:
    """A pool of sandboxes that are ready for a run.

    Args:
        make: makes a sandbox on the given cores.
        end: destroys a sandbox and all that is left of it, even when cancelled.
        places: sets of cores that runs are given; ``((),)`` where they may run on any.
        ready: sandboxes to have ready in all, spread over the places.
        tidy: removes what earlier sandboxes left, at each check; it never raises.
    """

    def __init__(
        self,
        make: Callable[[Cores], Awaitable[RunSandbox]],
        end: Callable[[RunSandbox], Coroutine[Any, Any, None]],
        places: Sequence[Cores],
        ready: int,
        tidy: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._make = make
        self._tidy = tidy
        self._end = end
        self._each = math.ceil(ready / len(places))
        self._idle: dict[Cores, deque[RunSandbox]] = {place: deque() for place in places}
        self._making: Counter[Cores] = Counter()
        self._makers = CapacityLimiter(ready)
        self._changed = anyio.Event()
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Fill the pool while the block lasts; at its end every sandbox is destroyed."""
        try:
            with unwrap_exception_group():
                async with anyio.create_task_group() as self._tasks:
                    self._tasks.start_soon(self._keep)
                    yield
                    self._tasks.cancel_scope.cancel()
        finally:
            self._tasks = None
            left = [room for idle in self._idle.values() for room in idle]
            for idle in self._idle.values():
                idle.clear()
            with CancelScope(shield=True):
                async with anyio.create_task_group() as ending:
                    for room in left:
                        ending.start_soon(self._end, room)

    @property
    def ready(self) -> int:
        """Return the number of sandboxes that are ready."""
        return sum(map(len, self._idle.values()))

    async def acquire(self, cores: Cores) -> RunSandbox | None:
        """Return an unused sandbox on these cores; None if none is available.

        A sandbox that is being made counts as available.

        The caller destroys it with ``release``, on every path.
        """
        if cores not in self._idle:
            return None
        while True:
            while self._idle[cores]:
                room = self._idle[cores].popleft()
                self._fill_up(cores)
                if await self._usable(room):
                    return room
            if not self._making[cores]:
                return None
            await self._changed.wait()

    async def release(self, room: RunSandbox) -> None:
        """Destroy a sandbox after its run, in the background while the pool is open.

        Closing the pool waits for it.
        """
        if self._tasks is None:
            await self._end(room)
        else:
            self._tasks.start_soon(self._end, room)

    async def _keep(self) -> None:
        while True:
            for cores, idle in self._idle.items():
                while idle and idle[0].expires_soon:
                    await self.release(idle.popleft())
                self._fill_up(cores)
            await anyio.sleep(_CHECK_SECONDS)
            if self._tidy is not None:
                await self._tidy()

    def _fill_up(self, cores: Cores) -> None:
        if self._tasks is None or self._tasks.cancel_scope.cancel_called:
            return
        for _ in range(self._each - len(self._idle[cores]) - self._making[cores]):
            self._making[cores] += 1
            self._tasks.start_soon(self._add, cores)

    async def _add(self, cores: Cores) -> None:
        try:
            async with self._makers:
                self._idle[cores].append(await self._make(cores))
        except (AarError, OSError) as error:
            # A run that needs a sandbox now makes one directly, with the same error.
            log.warning("no room could be made ready for the next run", error=str(error))
        finally:
            self._making[cores] -= 1
            self._changed.set()
            self._changed = anyio.Event()

    async def _usable(self, room: RunSandbox) -> bool:
        try:
            with anyio.fail_after(_ANSWER_SECONDS):
                await room.sandbox.jobs()  # asks the sandbox's server; starts nothing
            usable = not room.expires_soon
        except Exception as error:  # noqa: BLE001 - another sandbox is made in any case
            log.info("a room that was ready has ended; it is replaced", name=room.name, error=str(error))
            usable = False
        except BaseException:
            await self.release(room)
            raise
        if not usable:
            await self.release(room)
        return usable
