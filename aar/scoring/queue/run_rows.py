"""Database rows of scoring runs: written with their draws, read after a restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.scoring.phases import DECISIVE, Phase, phase_of
from aar.scoring.queue.scoring_job import RunSpec, ScoringJob
from aar.scoring.queue.seed_draws import draw_seeds
from aar.store.models import ScoringRun, Submission


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


def skip_unfinished(rows: Iterable[ScoringRun]) -> None:
    """Mark unfinished runs as skipped."""
    for row in rows:
        if row.state in ("queued", "running"):
            row.state = "skipped"


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
