"""The remaining scoring work of a submission or check: runs and their seeds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from anyio import CancelScope

from aar.scoring.phases import Phase

CHECKS_PAYER = ""
"""The payer of checks: the campaign, not a researcher. Runs are separated by their payers."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One scoring run to be made.

    Args:
        run_id: its row.
        index: its place among the submission's runs of its phase, from 0.
        seed, split_seed: drawn when the submission or check was claimed; the same after a restart.
    """

    run_id: int
    index: int
    phase: Phase
    domain: str
    seed: int
    split_seed: int


@dataclass(slots=True)
class ScoringJob:
    """A submission or check in progress, as the scorer holds it in memory.

    Args:
        runs: how many runs it has in all.
        pending: runs that no lane has taken yet.
        unfinished: the number of runs without a result.
        check_id: the check that is made; None for the measurement.
        audit: state of the audits that read the code before the first run: ``due``, ``under way`` or nothing.
        failed: whether a run failed, so that the rest is not needed.
        under_way: cancels the runs in progress.
    """

    submission_id: int
    number: int
    researcher_id: str
    digest: str
    runs: int
    pending: deque[RunSpec]
    unfinished: int
    check_id: int | None = None
    audit: str = ""
    failed: bool = False
    under_way: set[CancelScope] = field(default_factory=set)

    @property
    def payer(self) -> str:
        """Return the payer whose limits apply to its runs, beside the campaign's."""
        return CHECKS_PAYER if self.check_id is not None else self.researcher_id

    @property
    def is_done(self) -> bool:
        """Return True if only its verdict is missing."""
        return self.failed or not self.unfinished

    def drop_phase(self, phase: Phase) -> None:
        """Drop the remaining runs of a phase; its audit reports a missing answer."""
        kept = [ticket for ticket in self.pending if ticket.phase != phase]
        self.unfinished -= len(self.pending) - len(kept)
        self.pending = deque(kept)

    def drop_remaining(self) -> None:
        """Drop all runs that have no result yet."""
        self.failed = True
        self.pending.clear()
        for scope in self.under_way:
            scope.cancel()
