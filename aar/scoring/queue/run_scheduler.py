"""Chooses the next scoring run for all lanes of a scorer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

import anyio

from aar.errors import LimitReached
from aar.scoring.queue.scoring_job import CHECKS_PAYER, RunSpec, ScoringJob

_POLL_SECONDS = 0.5

ClaimFunction = Callable[[Collection[str]], Awaitable[ScoringJob | None]]
"""Claims the next queued work, without that of the given researchers."""


class RunScheduler:
    """Hands out runs: claimed submissions first, then new ones, then checks.

    One lane at a time polls for work, so an idle scorer queries the database once per poll, however many lanes it has.
    At a limit, the work of its payer is blocked: a researcher's submissions wait, or the checks do, and the rest goes
    on.

    Args:
        claim: claims the next submission.
        claim_check: claims the next check.
        left: the work that a former scorer had claimed.
    """

    def __init__(self, claim: ClaimFunction, claim_check: ClaimFunction, left: list[ScoringJob]) -> None:
        self._claim = claim
        self._claim_check = claim_check
        self._open = left
        self._looking = anyio.Lock()
        self._wake = anyio.Event()
        self.blocked: dict[str, LimitReached] = {}

    def wake(self) -> None:
        """Poll at once: there may be a new submission or a higher limit."""
        self.blocked.clear()
        self._wake.set()

    def block(self, work: ScoringJob, ticket: RunSpec, limit: LimitReached) -> None:
        """Return a run and block all work with the same payer."""
        work.pending.appendleft(ticket)
        self.blocked[work.payer] = limit

    def mark_audited(self, work: ScoringJob) -> None:
        """Allow a submission's runs to begin after its audit."""
        work.audit = ""
        self._wake.set()

    def close(self, work: ScoringJob) -> None:
        """Remove a submission or check that has its verdict."""
        if work in self._open:
            self._open.remove(work)

    async def next(self) -> tuple[ScoringJob, RunSpec | None]:
        """Return the next run, or a submission to audit first; waits for one."""
        async with self._looking:
            while True:
                if found := self._ready(checks=False):
                    return found
                self._wake = anyio.Event()
                claimed = await self._claim(tuple(self.blocked))
                if claimed is None and CHECKS_PAYER not in self.blocked:
                    if found := self._ready(checks=True):
                        return found
                    claimed = await self._claim_check(tuple(self.blocked))
                if claimed is not None:
                    self._open.append(claimed)
                    continue
                with anyio.move_on_after(_POLL_SECONDS):
                    await self._wake.wait()

    def _ready(self, *, checks: bool) -> tuple[ScoringJob, RunSpec | None] | None:
        for work in self._open:
            if (work.check_id is not None) != checks or work.payer in self.blocked:
                continue
            if work.audit == "due":
                work.audit = "under way"
                return work, None
            if work.pending and not work.audit:
                return work, work.pending.popleft()
        return None
