"""Which run comes next, for all lanes of a scorer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

import anyio

from aar.errors import LimitReached
from aar.scoring.queue.scoring_job import CHECKS, RunTicket, Work

_LOOK_SECONDS = 0.5

Claim = Callable[[Collection[str]], Awaitable[Work | None]]
"""Claims what is queued next, without that of the given researchers."""


class Agenda:
    """Hands out runs: those of claimed submissions first, then a newly claimed one's; checks take what is left.

    One lane at a time looks for work, so an idle scorer asks the database once per look, however many lanes it has.
    Who is at a limit is parked: a researcher's submissions wait, or the checks do, and the others' go on.

    Args:
        claim: claims the next submission.
        claim_check: claims the next check.
        left: what a former scorer had claimed.
    """

    def __init__(self, claim: Claim, claim_check: Claim, left: list[Work]) -> None:
        self._claim = claim
        self._claim_check = claim_check
        self._open = left
        self._looking = anyio.Lock()
        self._wake = anyio.Event()
        self.parked: dict[str, LimitReached] = {}

    def wake(self) -> None:
        """Look at once: a submission may have come in, a limit may have been raised."""
        self.parked.clear()
        self._wake.set()

    def park(self, work: Work, ticket: RunTicket, limit: LimitReached) -> None:
        """Give a run back and let what the same one pays for wait."""
        work.pending.appendleft(ticket)
        self.parked[work.payer] = limit

    def audited(self, work: Work) -> None:
        """A submission's runs may begin."""
        work.audit = ""
        self._wake.set()

    def close(self, work: Work) -> None:
        """A submission or a check has its verdict."""
        if work in self._open:
            self._open.remove(work)

    async def next(self) -> tuple[Work, RunTicket | None]:
        """The next run, or a submission whose code is to be audited first; waits until there is one."""
        async with self._looking:
            while True:
                if found := self._ready(checks=False):
                    return found
                self._wake = anyio.Event()
                claimed = await self._claim(tuple(self.parked))
                if claimed is None and CHECKS not in self.parked:
                    if found := self._ready(checks=True):
                        return found
                    claimed = await self._claim_check(tuple(self.parked))
                if claimed is not None:
                    self._open.append(claimed)
                    continue
                with anyio.move_on_after(_LOOK_SECONDS):
                    await self._wake.wait()

    def _ready(self, *, checks: bool) -> tuple[Work, RunTicket | None] | None:
        for work in self._open:
            if (work.check_id is not None) != checks or work.payer in self.parked:
                continue
            if work.audit == "due":
                work.audit = "under way"
                return work, None
            if work.pending and not work.audit:
                return work, work.pending.popleft()
        return None
