"""API of a submission's details, for people only: diff and score per split."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from aar.readmodels.chart_data import seed_table, to_csv
from aar.readmodels.progress import list_visible_submissions
from aar.readmodels.submissions.code_diff import FileDifference, diff_files
from aar.readmodels.submissions.seed_scores import SeedScore, read_seed_scores
from aar.readmodels.submissions.submission_code import read_submission_code
from aar.readmodels.submissions.submission_details import read_submission_details
from aar.readmodels.submissions.submission_lineage import find_parent
from aar.scoring.submissions.submit import SubmissionView, get_submission
from aar.web.api.charts import AS_CSV, CSV
from aar.web.api.pagination import Number
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import PersonDep
from aar.web.path_params import CampaignId, find_campaign

router = APIRouter(prefix="/campaigns/{campaign_id}/submissions/{number}", tags=["submissions"])


class DiffOut(BaseModel):
    """The changes of a submission's code."""

    parent: int | None
    """The submission that it builds on; None if it builds on none, or if its code is not stored here."""
    files: list[FileDifference]


@router.get("/diff")
def diff(shared: AppStateDep, campaign_id: CampaignId, number: Number, _who: PersonDep) -> DiffOut:
    """Returns the code's diff against its parent: one bounded unified diff per file."""
    with shared.db.reading() as session:
        view = get_submission(session, find_campaign(session, campaign_id).id, number)
        parent = find_parent(view, list_visible_submissions(session, view.campaign_id))
    found = submission_diff(shared, view, parent)
    return DiffOut(parent=parent.number if parent and found is not None else None, files=found or [])


@router.get("/seeds.csv", response_class=Response, responses=AS_CSV)
def seeds_csv(shared: AppStateDep, campaign_id: CampaignId, number: Number, _who: PersonDep) -> Response:
    """Returns the score on each split as CSV."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        found = scores_per_seed(session, view.problem, get_submission(session, view.id, number))
    return Response(to_csv(seed_table(found)), media_type=CSV)


@router.get("/seeds")
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
