"""Page of the lineage of submissions."""

from __future__ import annotations

from fastapi import APIRouter, Response

from aar.campaign.views import list_researchers
from aar.readmodels.problem_metric import find_metric
from aar.readmodels.progress import list_visible_submissions, read_progress
from aar.readmodels.submissions.submission_lineage import lineage_tree
from aar.store.event_log import latest_event_id
from aar.web.app_state import AppStateDep
from aar.web.authentication import AudienceDep
from aar.web.path_params import CampaignId, find_campaign
from aar.web.rendering import render_page
from aar.web.urls import point_link

router = APIRouter()


@router.get("/campaigns/{campaign_id}/lineage")
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
