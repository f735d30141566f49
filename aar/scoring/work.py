"""What a claimed submission still has to go through: its runs, with the seeds drawn for them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from anyio import CancelScope

from aar.problems.protocol import Stage


@dataclass(frozen=True, slots=True)
class RunTicket:
    """One scoring run to be made.

    Args:
        run_id: its row.
        index: its place among the submission's runs, from 0.
        seed, split_seed: drawn when the submission was claimed; the same after a restart.
    """

    run_id: int
    index: int
    stage: Stage
    domain: str
    seed: int
    split_seed: int


@dataclass(slots=True)
class Work:
    """A submission being scored, as the scorer keeps it in memory.

    Args:
        runs: how many runs it has in all.
        pending: those nobody has taken yet.
        unfinished: how many have no result yet.
        failed: whether one failed, so that the rest is not needed.
        under_way: cancels the runs in progress.
    """

    submission_id: int
    number: int
    researcher_id: str
    digest: str
    runs: int
    pending: deque[RunTicket]
    unfinished: int
    failed: bool = False
    under_way: set[CancelScope] = field(default_factory=set)

    def fail(self) -> None:
        """Drop all runs that have no result yet."""
        self.failed = True
        self.pending.clear()
        for scope in self.under_way:
            scope.cancel()
