"""Which run comes next, for all lanes of a scorer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

import anyio

from aar.errors import LimitReached
from aar.scoring.work import RunTicket, Work

_LOOK_SECONDS = 0.5

Claim = Callable[[Collection[str]], Awaitable[Work | None]]
"""Claims the next queued submission, without those of the given researchers."""


class Agenda:
    """Hands out runs: those of the submissions already claimed first, then a newly claimed one's.

    One lane at a time looks for work, so an idle scorer asks the database once per look, however many lanes it has.
    A researcher at a limit of its own is parked: its submissions wait, the others' go on.
    """

    def __init__(self, claim: Claim, left: list[Work]) -> None:
        self._claim = claim
        self._open = left
        self._looking = anyio.Lock()
        self._wake = anyio.Event()
        self.parked: dict[str, LimitReached] = {}

    def wake(self) -> None:
        """Look at once: a submission may have come in, a limit may have been raised."""
        self.parked.clear()
        self._wake.set()

    def park(self, work: Work, ticket: RunTicket, limit: LimitReached) -> None:
        """Give a run back and let its researcher's submissions wait."""
        work.pending.appendleft(ticket)
        self.parked[work.researcher_id] = limit

    def close(self, work: Work) -> None:
        """A submission has its verdict."""
        self._open.remove(work)

    async def next(self) -> tuple[Work, RunTicket]:
        """The next run; waits until there is one."""
        async with self._looking:
            while True:
                for work in self._open:
                    if work.pending and work.researcher_id not in self.parked:
                        return work, work.pending.popleft()
                self._wake = anyio.Event()
                claimed = await self._claim(tuple(self.parked))
                if claimed is not None:
                    self._open.append(claimed)
                    continue
                with anyio.move_on_after(_LOOK_SECONDS):
                    await self._wake.wait()
