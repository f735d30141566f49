"""Pages of submissions: one submission (claim, scores, verdict, code), and the lineage of all."""

from __future__ import annotations

from fastapi import APIRouter, Response

from aar.campaign.views import list_researchers
from aar.readmodels.leaderboard import find_metric
from aar.readmodels.progress import list_visible_submissions, read_progress
from aar.readmodels.submission_code import find_parent, lineage_tree, read_submission_code
from aar.readmodels.submission_details import read_seed_scores, read_submission_details
from aar.report.charts.svg import axis_range
from aar.scoring.audits.audit_findings import similar_submissions
from aar.scoring.submissions import get_submission
from aar.scoring.visibility import RestrictedData, may_see, submission_seen_by
from aar.store.event_log import latest_event_id
from aar.web.api.submissions import submission_diff
from aar.web.app_state import AppStateDep
from aar.web.authentication import AudienceDep
from aar.web.rendering import point_link, render_page
from aar.web.request_params import CampaignId, Number, find_campaign

router = APIRouter(prefix="/campaigns/{campaign_id}")


@router.get("/submissions/{number}")
def submission_page(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId, number: Number) -> Response:
    """Shows a submitted method and its scores, as the client may see them."""
    whole = may_see(audience, RestrictedData.SEALED_SCORES)
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        cursor = latest_event_id(session, view.id)
        unredacted = get_submission(session, view.id, number)
        submission = submission_seen_by(unredacted, audience)
        every = list_visible_submissions(session, view.id, audience)
        close = read_submission_details(session, view.id, number).seen_by(audience, told=unredacted.told)
        alike = similar_submissions(session, unredacted.id) if whole else []
        phases = [each.phase for each in close.phases] if whole else []
        seeds = read_seed_scores(session, view.problem, submission.id, phases)
    parent = find_parent(submission, every)
    metric = find_metric(view.problem)
    human = [] if metric is None or metric.human_baseline is None else [metric.human_baseline]
    context = {
        "campaign": view,
        "metric": metric,
        "submission": submission,
        "parent": parent,
        "whole": whole,
        "changes": submission_diff(shared, submission, parent) if whole else None,
        "seeds": seeds,
        "twins": [each.number for each in every if each.digest == submission.digest and each.number != number],
        "alike": alike,
        "close": close,
        "axis": axis_range([end for each in close.phases for end in (each.score.low, each.score.high)], human),
        "files": read_submission_code(shared.snapshots_of(view.id), submission.digest),
        "cursor": cursor,
    }
    return render_page("submission.html", context)


@router.get("/lineage")
def lineage_page(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId) -> Response:
    """Shows a campaign's submissions as a graph and as a tree."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        metric = find_metric(view.problem)
        cursor = latest_event_id(session, view.id)
        team = list_researchers(session, view.id)
        submissions = list_visible_submissions(session, view.id, audience)
        higher = metric is None or metric.higher_is_better
        context = {
            "campaign": view,
            "metric": metric,
            "cursor": cursor,
            "team": team,
            "series": {each.id: each.index for each in team},
            "submissions": submissions,
            "tree": lineage_tree(submissions),
            "progress": read_progress(session, view.id, submissions, higher_is_better=higher),
            "link": point_link(view.id),
        }
    return render_page("lineage.html", context)
