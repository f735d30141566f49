"""API of submissions and the leaderboard, as each client may see them.

Only the controller's scorer writes scores.
"""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from aar.readmodels.chart_data import seed_table, to_csv
from aar.readmodels.leaderboard import find_metric, read_board, read_queue_state
from aar.readmodels.progress import list_visible_submissions
from aar.readmodels.submission_code import FileDifference, diff_files, find_parent, read_submission_code
from aar.readmodels.submission_details import PhaseView, SeedScore, read_seed_scores, read_submission_details
from aar.scoring.audits.audit_findings import FindingView
from aar.scoring.confirmation_queue import CheckView
from aar.scoring.submission_history import EstimateRecord, HappeningRecord, RunRecord, read_submission_record
from aar.scoring.submission_status import StatusView
from aar.scoring.submissions import SubmissionView, get_submission, list_submissions
from aar.scoring.visibility import record_seen_by, submission_seen_by
from aar.web.api.charts import AS_CSV, CSV
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import AudienceDep, PersonDep
from aar.web.request_params import (
    After,
    CampaignId,
    Limit,
    Number,
    Page,
    ViewOut,
    find_campaign,
    find_researcher,
    make_page,
)

router = APIRouter(prefix="/campaigns/{campaign_id}", tags=["submissions"])


class SubmissionOut(ViewOut):
    """A submitted method.

    The score is pooled over fresh seeds and splits, and rounded.
    """

    number: int
    researcher_id: str
    researcher_name: str
    digest: str
    parent: str | None
    title: str
    claim: str
    families: list[str]
    state: str
    status: str
    verdict: str
    mean: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    seeds: int
    hypothesis: str
    """The author's expectation, frozen with the code."""
    identity: str
    """The same for all submissions that count as the same code."""
    disqualified: str
    """The rule that disqualifies it; empty if it is not disqualified."""
    outside: bool
    """True if its author is an external researcher, which has an agent of its own."""
    created_at: datetime
    finished_at: datetime | None


class FileOut(ViewOut):
    """A file of the frozen code."""

    path: str
    size_bytes: int
    text: str | None
    """None for a file that is not UTF-8 text, or too long to show."""


class SubmissionDetail(SubmissionOut):
    """A submission with its code, phase results, audits and status changes."""

    phases: list[PhaseView]
    audits: list[FindingView]
    history: list[StatusView]
    checks: list[CheckView]
    files: list[FileOut]


class SubmissionRecordOut(ViewOut):
    """The complete record of a submission, each list in order of time."""

    submission: SubmissionOut
    same_code: list[int]
    """Other submissions that count as the same code; their runs share one estimate."""
    charged_runs: int
    """Scoring runs counted against the quotas when it was submitted."""
    runs: list[RunRecord]
    estimates: list[EstimateRecord]
    audits: list[FindingView]
    changes: list[StatusView]
    checks: list[CheckView]
    happenings: list[HappeningRecord]


class LeaderboardOut(ViewOut):
    """A row of the board; scores cannot separate rows of one band."""

    rank: int
    band: int
    labels: list[str]
    """Labels from audits that people must know, such as ``teacher-independent``."""
    confirmed: PhaseView | None
    """Its score on the sealed splits; for people only."""
    submission: SubmissionOut


class WaitingOut(BaseModel):
    """A queued submission and the seconds until its first run is expected."""

    number: int
    expected_wait_seconds: float | None


class QueueOut(BaseModel):
    """The submissions being scored, and the queue in its order."""

    scoring: list[int]
    waiting: list[WaitingOut]


@router.get("/submissions")
def submissions(
    shared: AppStateDep,
    audience: AudienceDep,
    campaign_id: CampaignId,
    after: After = 0,
    limit: Limit = 50,
    researcher: str | None = None,
) -> Page[SubmissionOut]:
    """Lists submissions by number."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        by = find_researcher(session, view.id, researcher).id if researcher else None
        views = list_submissions(session, view.id, researcher_id=by, after=after, limit=limit + 1)
    seen = [submission_seen_by(each, audience) for each in views]
    return make_page(seen, limit, SubmissionOut.model_validate, lambda each: each.number)


@router.get("/submissions/{number}")
def submission(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId, number: Number) -> SubmissionDetail:
    """Returns a submission with its frozen files.

    Phases and audits appear as far as the client may see them.
    """
    with shared.db.reading() as session:
        view = get_submission(session, find_campaign(session, campaign_id).id, number)
        close = read_submission_details(session, view.campaign_id, number).seen_by(audience, told=view.told)
    code = read_submission_code(shared.snapshots_of(view.campaign_id), view.digest)
    return SubmissionDetail(
        **SubmissionOut.model_validate(submission_seen_by(view, audience)).model_dump(),
        phases=close.phases,
        audits=close.audits,
        history=close.history,
        checks=close.checks,
        files=[FileOut.model_validate(file) for file in code],
    )


@router.get("/submissions/{number}/record")
def record(
    shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId, number: Number, _who: PersonDep
) -> SubmissionRecordOut:
    """Returns a submission's complete record, for people.

    Seeds, split seeds and digests of outputs appear for the operator only.
    """
    with shared.db.reading() as session:
        record = read_submission_record(session, find_campaign(session, campaign_id).id, number)
    return SubmissionRecordOut.model_validate(record_seen_by(record, audience))


@router.get("/leaderboard")
def board(
    shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId, limit: Limit = 50
) -> Page[LeaderboardOut]:
    """Lists measured submissions, best first; without disqualified and refuted ones."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        metric = find_metric(view.problem)
        higher = metric is None or metric.higher_is_better
        rows = read_board(session, view.id, limit=limit, higher_is_better=higher, audience=audience).rows
    return Page(items=[LeaderboardOut.model_validate(row) for row in rows], next_cursor=None)


@router.get("/queue")
def queue(shared: AppStateDep, campaign_id: CampaignId) -> QueueOut:
    """Lists submissions that wait to be scored, with the expected wait."""
    with shared.db.reading() as session:
        state = read_queue_state(session, find_campaign(session, campaign_id).id)
    waiting = [WaitingOut(number=each, expected_wait_seconds=state.expected_wait(each)) for each in state.waiting]
    return QueueOut(scoring=list(state.scoring), waiting=waiting)


class DiffOut(BaseModel):
    """The changes of a submission's code."""

    parent: int | None
    """The submission that it builds on; None if it builds on none, or if its code is not stored here."""
    files: list[FileDifference]


@router.get("/submissions/{number}/diff")
def diff(shared: AppStateDep, campaign_id: CampaignId, number: Number, _who: PersonDep) -> DiffOut:
    """Returns the code's diff against its parent: one bounded unified diff per file."""
    with shared.db.reading() as session:
        view = get_submission(session, find_campaign(session, campaign_id).id, number)
        parent = find_parent(view, list_visible_submissions(session, view.campaign_id))
    files = submission_diff(shared, view, parent)
    return DiffOut(parent=parent.number if parent and files is not None else None, files=files or [])


@router.get("/submissions/{number}/seeds.csv", response_class=Response, responses=AS_CSV)
def seeds_csv(shared: AppStateDep, campaign_id: CampaignId, number: Number, _who: PersonDep) -> Response:
    """Returns the score on each split as CSV."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        scores = scores_per_seed(session, view.problem, get_submission(session, view.id, number))
    return Response(to_csv(seed_table(scores)), media_type=CSV)


@router.get("/submissions/{number}/seeds")
def seeds(shared: AppStateDep, campaign_id: CampaignId, number: Number, _who: PersonDep) -> list[SeedScore]:
    """Lists the rounded score of each split; empty if the problem is not installed."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        return scores_per_seed(session, view.problem, get_submission(session, view.id, number))


def submission_diff(
    shared: AppState, view: SubmissionView, parent: SubmissionView | None
) -> list[FileDifference] | None:
    """Diffs a submission against its parent; None if one is not here."""
    store = shared.snapshots_of(view.campaign_id)
    if parent is None or store is None or not (store.exists(parent.digest) and store.exists(view.digest)):
        return None
    return diff_files(read_submission_code(store, parent.digest), read_submission_code(store, view.digest))


def scores_per_seed(session: Session, problem: str, view: SubmissionView) -> list[SeedScore]:
    """Lists scores by split, of every phase that has an estimate."""
    phases = [each.phase for each in read_submission_details(session, view.campaign_id, view.number).phases]
    return read_seed_scores(session, problem, view.id, phases)
