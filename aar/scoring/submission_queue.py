"""The submission queue: stored in the database and fair between researchers.

It outlives the controller. The rows of runs are written with their draws and read after a restart; the scheduler hands
the runs to the lanes of a scorer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
from anyio import CancelScope
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.errors import Conflict, LimitReached
from aar.events import ScoringStarted
from aar.problems.protocol import Problem, version_of
from aar.scoring.phases import DECISIVE, MEASURE, Phase, draw_seeds, phase_of
from aar.store.event_log import append_event, lock_campaign
from aar.store.models import Campaign, ScoringRun, Submission

CHECKS_PAYER = ""
"""The payer of checks: the campaign, not a researcher. Runs are separated by their payers."""
_POLL_SECONDS = 0.5


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
        remaining = [spec for spec in self.pending if spec.phase != phase]
        self.unfinished -= len(self.pending) - len(remaining)
        self.pending = deque(remaining)

    def drop_remaining(self) -> None:
        """Drop all runs that have no result yet."""
        self.failed = True
        self.pending.clear()
        for scope in self.under_way:
            scope.cancel()


def insert_runs(
    session: Session,
    submission: Submission,
    phase: Phase,
    *,
    domains: Sequence[str],
    seeds: int,
    secret: str,
    check_id: int | None = None,
) -> None:
    """Draw fresh seeds, each for every domain.

    Indices continue from the earlier runs of the phase.
    """
    last = session.scalar(
        select(func.max(ScoringRun.index)).where(
            ScoringRun.submission_id == submission.id, ScoringRun.stage == phase.key
        )
    )
    first = 0 if last is None else last + 1
    for place in range(seeds * len(domains)):
        drawn = draw_seeds(secret, phase.draw_series, submission.number, submission.digest, first + place)
        session.add(
            ScoringRun(
                submission_id=submission.id,
                check_id=check_id,
                index=first + place,
                stage=phase.key,
                domain=domains[place % len(domains)],
                seed=drawn.seed,
                split_seed=drawn.split_seed,
                state="queued",
            )
        )
    session.flush()


def list_runs(session: Session, submission_id: int, check_id: int | None) -> list[ScoringRun]:
    """List the runs of a measurement or of one check, in writing order."""
    query = select(ScoringRun).where(ScoringRun.submission_id == submission_id, ScoringRun.check_id == check_id)
    return list(session.scalars(query.order_by(ScoringRun.id)))


def skip_unfinished(session: Session, submission_id: int, check_id: int | None) -> list[ScoringRun]:
    """Mark the unfinished runs of a measurement or of one check as skipped; returns all of its runs."""
    rows = list_runs(session, submission_id, check_id)
    for row in rows:
        if row.state in ("queued", "running"):
            row.state = "skipped"
    return rows


def load_job(session: Session, submission: Submission, check_id: int | None = None) -> ScoringJob:
    """Load the remaining runs of a measurement or check; interrupted runs start again."""
    rows = list_runs(session, submission.id, check_id)
    broken = {phase_of(row.stage) for row in rows if row.state == "failed"}
    pending: deque[RunSpec] = deque()
    for row in rows:
        if row.state in ("queued", "running"):
            row.state = "queued"
            if phase_of(row.stage) in broken:
                continue
            pending.append(RunSpec(row.id, row.index, phase_of(row.stage), row.domain, row.seed, row.split_seed))
    return ScoringJob(
        submission_id=submission.id,
        number=submission.number,
        researcher_id=submission.researcher_id,
        digest=submission.digest,
        runs=len(rows),
        pending=pending,
        unfinished=len(pending),
        check_id=check_id,
        failed=any(phase in DECISIVE for phase in broken),
    )


@dataclass(frozen=True, slots=True)
class QueueState:
    """The state of the queue: submissions being scored and waiting.

    Args:
        scoring: numbers of the submissions being scored.
        waiting: numbers of the queued ones in the order in which they will be claimed.
        run_seconds: mean seconds of the campaign's finished runs; None before the first.
        runs_before: for each waiting number, how many runs come before its own.
        parallel: runs that go at once.
    """

    scoring: tuple[int, ...]
    waiting: tuple[int, ...]
    run_seconds: float | None
    runs_before: Mapping[int, int] = field(default_factory=dict)
    parallel: int = 1

    def count_ahead(self, number: int) -> int | None:
        """Count the submissions before a queued one; None if it is not queued."""
        return len(self.scoring) + self.waiting.index(number) if number in self.waiting else None

    def expected_wait(self, number: int) -> float | None:
        """Estimate the seconds until a queued submission's first run.

        None if it is not queued, or if no run has finished.
        """
        if self.run_seconds is None or number not in self.runs_before:
            return None
        return self.run_seconds * self.runs_before[number] / self.parallel


def read_queue(session: Session, campaign_id: str, *, parallel: int = 1) -> QueueState:
    """Return the current queue.

    Args:
        parallel: how many runs go at once, for the expected wait.
    """
    scoring = session.scalars(
        select(Submission.number)
        .where(Submission.campaign_id == campaign_id, Submission.state == "scoring")
        .order_by(Submission.number)
    )
    seconds = session.scalar(
        select(func.avg(ScoringRun.seconds))
        .join(Submission, Submission.id == ScoringRun.submission_id)
        .where(Submission.campaign_id == campaign_id, ScoringRun.state.in_(("scored", "failed")))
    )
    waiting = fair_order(_queued(session, campaign_id), last_served(session, campaign_id))
    before = _runs_before(session, campaign_id, waiting)
    return QueueState(tuple(scoring), tuple(waiting), seconds, before, max(1, parallel))


def _runs_before(session: Session, campaign_id: str, waiting: Sequence[int]) -> dict[int, int]:
    unfinished = (
        select(func.count(ScoringRun.id))
        .join(Submission, Submission.id == ScoringRun.submission_id)
        .where(Submission.campaign_id == campaign_id, Submission.state == "scoring")
        .where(ScoringRun.check_id.is_(None), ScoringRun.state.in_(("queued", "running")))
    )
    charged = select(Submission.number, Submission.charged_runs).where(
        Submission.campaign_id == campaign_id, Submission.state == "queued"
    )
    runs = {row.number: row.charged_runs for row in session.execute(charged)}
    total, before = session.scalar(unfinished) or 0, {}
    for number in waiting:
        before[number] = total
        total += runs[number]
    return before


def fair_order(queued: Sequence[tuple[int, str]], last_served: Mapping[str, int]) -> list[int]:
    """Order the queue round-robin, by the time each researcher was last served.

    Of the researcher served longest ago, the oldest submission comes next.

    Args:
        queued: (number, researcher) pairs.
        last_served: a growing mark of when each researcher was last served; absent for never.
    """
    lanes: dict[str, deque[int]] = {}
    for number, researcher in sorted(queued):
        lanes.setdefault(researcher, deque()).append(number)
    served = dict(last_served)
    mark = max(served.values(), default=0)
    order: list[int] = []
    while lanes:
        researcher = min(lanes, key=lambda name: (served.get(name, 0), lanes[name][0]))
        order.append(lanes[researcher].popleft())
        mark += 1
        served[researcher] = mark
        if not lanes[researcher]:
            del lanes[researcher]
    return order


def check_problem_version(session: Session, campaign_id: str, problem: Problem) -> None:
    """Check that a campaign's submissions may be scored by the problem as installed.

    Raises:
        Conflict: the campaign was begun under another version of the problem.
    """
    recorded, installed = session.get_one(Campaign, campaign_id).problem_version, version_of(problem)
    if recorded != installed:
        raise Conflict(
            f"problem version of campaign {campaign_id} does not match: got version {recorded} of {problem.name} from "
            f"its record, expected {installed}, which is installed",
            "Install the aar release that began it to go on, or start a new campaign; reading, reports and stop work",
        )


def claim_submission(
    session: Session,
    campaign_id: str,
    *,
    domains: Sequence[str],
    seeds: int,
    secret: str,
    skip: Collection[str] = (),
) -> ScoringJob | None:
    """Claim the next submission and draw its seeds; None if none is queued.

    Splits are drawn too.

    The rows of all its runs are written at once, so that a restart finds the same draws.

    Args:
        domains: each seed is run on every one of them.
        secret: the draws are derived from it.
        skip: researchers whose submissions have to wait.
    """
    lock_campaign(session, campaign_id)
    queued = [(number, author) for number, author in _queued(session, campaign_id) if author not in skip]
    order = fair_order(queued, last_served(session, campaign_id))
    if not order:
        return None
    submission = session.scalars(
        select(Submission).where(Submission.campaign_id == campaign_id, Submission.number == order[0])
    ).one()
    submission.state = "scoring"
    job = load_job(session, submission)
    if not job.runs:  # one that was disqualified before it was run, and is reinstated, has its draws already
        insert_runs(session, submission, MEASURE, domains=domains, seeds=seeds, secret=secret)
        job = load_job(session, submission)
    started = ScoringStarted(submission_id=submission.id, number=submission.number, runs=job.runs)
    append_event(session, campaign_id, started, submission.researcher_id)
    return job


def recover_submissions(session: Session, campaign_id: str) -> list[ScoringJob]:
    """Recover the submissions that a former controller left unfinished.

    Runs with a result are not repeated; the others start again.
    """
    claimed = session.scalars(
        select(Submission)
        .where(Submission.campaign_id == campaign_id, Submission.state == "scoring")
        .order_by(Submission.number)
    ).all()
    return [load_job(session, submission) for submission in claimed]


def count_unfinished(session: Session, campaign_id: str, skip: Collection[str] = ()) -> int:
    """Count the submissions without a verdict, except those of researchers in ``skip``."""
    query = (
        select(func.count())
        .select_from(Submission)
        .where(Submission.campaign_id == campaign_id, Submission.state.in_(("queued", "scoring")))
        .where(Submission.researcher_id.not_in(list(skip)))
    )
    return session.scalar(query) or 0


def _queued(session: Session, campaign_id: str) -> list[tuple[int, str]]:
    query = select(Submission.number, Submission.researcher_id).where(
        Submission.campaign_id == campaign_id, Submission.state == "queued"
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def last_served(session: Session, campaign_id: str, *, checks: bool = False) -> dict[str, int]:
    """Return a growing mark of when each researcher was last served.

    Claims of submissions and of their checks count.
    """
    # The rows of a submission's runs are written when it is claimed, so their ids follow the order of claims.
    query = (
        select(Submission.researcher_id, func.max(ScoringRun.id))
        .join(ScoringRun, ScoringRun.submission_id == Submission.id)
        .where(Submission.campaign_id == campaign_id, ScoringRun.check_id.is_not(None) == checks)
        .group_by(Submission.researcher_id)
    )
    return {row[0]: row[1] for row in session.execute(query)}


ClaimFunction = Callable[[Collection[str]], Awaitable[ScoringJob | None]]
"""Claims the next queued job, without that of the given researchers."""


class RunScheduler:
    """Hands out runs: claimed submissions first, then new ones, then checks.

    One lane at a time polls for work, so an idle scorer queries the database once per poll, however many lanes it has.
    At a limit, the work of its payer is blocked: a researcher's submissions wait, or the checks do, and the rest goes
    on.

    Args:
        claim: claims the next submission.
        claim_check: claims the next check.
        left: the jobs that a former scorer had claimed.
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

    def block(self, job: ScoringJob, spec: RunSpec, limit: LimitReached) -> None:
        """Return a run and block all jobs with the same payer."""
        job.pending.appendleft(spec)
        self.blocked[job.payer] = limit

    def mark_audited(self, job: ScoringJob) -> None:
        """Allow a submission's runs to begin after its audit."""
        job.audit = ""
        self._wake.set()

    def close(self, job: ScoringJob) -> None:
        """Remove a submission or check that has its verdict."""
        if job in self._open:
            self._open.remove(job)

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
        for job in self._open:
            if (job.check_id is not None) != checks or job.payer in self.blocked:
                continue
            if job.audit == "due":
                job.audit = "under way"
                return job, None
            if job.pending and not job.audit:
                return job, job.pending.popleft()
        return None
