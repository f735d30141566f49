"""A submission's page: claim, verdict, code."""

from __future__ import annotations

from fastapi import APIRouter, Response

from aar.report.axes import span
from aar.report.closeup import close_up
from aar.report.code import read_code
from aar.report.lineage import parent_of
from aar.report.metrics import metric_of
from aar.report.progress import all_submissions
from aar.report.seeds import seed_scores
from aar.scoring.findings import alike_submissions
from aar.scoring.submissions import get_submission
from aar.store.event_log import latest_event_id
from aar.web.api.closer import changes
from aar.web.api.paging import Number
from aar.web.lookup import CampaignId, campaign_of
from aar.web.pages.render import render
from aar.web.state import SharedDep

router = APIRouter(prefix="/campaigns/{campaign_id}/submissions")


@router.get("/{number}")
def submission_page(shared: SharedDep, campaign_id: CampaignId, number: Number) -> Response:
    """A method as it was handed in, and what was measured."""
    with shared.db.reading() as session:
        view = campaign_of(session, campaign_id)
        cursor = latest_event_id(session, view.id)
        submission = get_submission(session, view.id, number)
        every = all_submissions(session, view.id)
        close = close_up(session, view.id, number)
        alike = alike_submissions(session, submission.id)
        seeds = seed_scores(session, view.problem, submission.id, [each.phase for each in close.phases])
    parent = parent_of(submission, every)
    metric = metric_of(view.problem)
    human = [] if metric is None or metric.human_baseline is None else [metric.human_baseline]
    context = {
        "campaign": view,
        "metric": metric,
        "submission": submission,
        "parent": parent,
        "changes": changes(shared, submission, parent),
        "seeds": seeds,
        "twins": [each.number for each in every if each.digest == submission.digest and each.number != number],
        "alike": alike,
        "close": close,
        "axis": span([end for each in close.phases for end in (each.score.low, each.score.high)], human),
        "files": read_code(shared.snapshots_of(view.id), submission.digest),
        "cursor": cursor,
    }
    return render("submission.html", context)
