"""Pages of campaigns: the list, one campaign, its report, and the comparison of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from aar.budget.limits import Limits
from aar.budget.totals import read_totals
from aar.campaign.costs import forecast_budget
from aar.campaign.views import CampaignView, list_campaigns, list_researchers
from aar.forum.search import list_posts
from aar.problems.protocol import Metric
from aar.readmodels.alerts import list_alerts, list_usage_doubts
from aar.readmodels.campaign_overview import list_recent_events
from aar.readmodels.formatting import is_offline
from aar.readmodels.leaderboard import BoardRow, find_metric, read_board, read_queue_state
from aar.readmodels.progress import HorizontalAxis, list_visible_submissions, read_progress
from aar.report.charts.svg import axis_range
from aar.report.comparison import spec_rows
from aar.report.html_report import CONTENT_POLICY, render_report
from aar.report.report_data import best_row_of, build_report
from aar.scoring.results.leaderboard import read_leader
from aar.scoring.visibility import Audience, activity_seen_by, submission_seen_by
from aar.store.event_log import latest_event_id
from aar.web.api.campaigns import load_compared_campaign, public_spec
from aar.web.app_state import AppStateDep
from aar.web.authentication import AudienceDep, PersonDep
from aar.web.rendering import campaign_link, render_page
from aar.web.request_params import CampaignId, find_campaign

router = APIRouter()
_Named = Annotated[str, Query(max_length=64)]


@router.get("/")
def start(shared: AppStateDep) -> Response:
    """Redirects to the running campaign, or to the list of all."""
    return RedirectResponse(campaign_link(shared.campaign_id) if shared.campaign_id else "/campaigns", 307)


@router.get("/campaigns")
def campaigns_page(shared: AppStateDep, audience: AudienceDep) -> Response:
    """Shows all campaigns, newest first."""
    with shared.db.reading() as session:
        rows = [_row(session, view, audience) for view in list_campaigns(session)]
    return render_page("campaigns.html", {"rows": rows})


@router.get("/campaigns/{campaign_id}")
def campaign_page(
    shared: AppStateDep,
    audience: AudienceDep,
    campaign_id: CampaignId,
    over: Annotated[HorizontalAxis, Query(description="What the chart of scores runs over")] = "hours",
) -> Response:
    """Shows one campaign."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        if view.id != campaign_id:
            return RedirectResponse(campaign_link(view.id), 307)
        context = _campaign_context(session, view, audience) | {"over": over}
    return render_page("campaign.html", context)


@router.get("/campaigns/{campaign_id}/report")
def report_page(shared: AppStateDep, _who: PersonDep, campaign_id: CampaignId) -> HTMLResponse:
    """Shows the self-contained report, as ``aar report`` writes it; for people."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        html = render_report(build_report(session, shared.snapshots_of(view.id), view.id))
    return HTMLResponse(html, headers={"Content-Security-Policy": CONTENT_POLICY})


def _row(session: Session, view: CampaignView, audience: Audience) -> dict[str, Any]:
    metric = find_metric(view.problem)
    team = list_researchers(session, view.id)
    leader = read_leader(session, view.id, higher_is_better=metric is None or metric.higher_is_better)
    return {
        "campaign": view,
        "metric": metric,
        "best": None if leader is None else submission_seen_by(leader, audience),
        "team": len(team),
        "models": list(dict.fromkeys(each.model for each in team)),
        "totals": read_totals(session, view.id).campaign,
    }


def _campaign_context(session: Session, view: CampaignView, audience: Audience) -> dict[str, Any]:
    metric = find_metric(view.problem)
    higher_is_better = metric is None or metric.higher_is_better
    cursor = latest_event_id(session, view.id)  # first, so that the stream repeats events rather than misses them
    board = read_board(session, view.id, higher_is_better=higher_is_better, audience=audience)
    team = [replace(each, doing=activity_seen_by(each.doing, audience)) for each in list_researchers(session, view.id)]
    submissions = list_visible_submissions(session, view.id, audience)
    return {
        "campaign": view,
        "metric": metric,
        "cursor": cursor,
        "board": board,
        "axis": board_axis(board.rows, metric),
        "queue": read_queue_state(session, view.id),
        "team": team,
        "offline": sum(is_offline(each.model) for each in team),
        "best_of": {each.id: best_row_of(each.id, board.rows) for each in team},
        "handed_in": {each.id: sum(one.researcher_id == each.id for one in submissions) for each in team},
        "submissions": submissions,
        "progress": read_progress(session, view.id, submissions, higher_is_better=higher_is_better),
        "totals": read_totals(session, view.id),
        "posts": list_posts(session, view.id, limit=8, newest_first=True),
        "log": list_recent_events(session, view.id, limit=30, audience=audience),
        "alerts": list_alerts(session, view.id, audience),
        "usage_doubts": list_usage_doubts(session, view.id),
        "forecast": forecast_budget(session, view.id, Limits.model_validate(view.spec.get("limits", {}))),
    }


def board_axis(rows: Sequence[BoardRow], metric: Metric | None) -> tuple[float, float]:
    """Returns the shared axis of the leaderboard's interval bars."""
    human = [] if metric is None or metric.human_baseline is None else [metric.human_baseline]
    return axis_range([row.submission.mean for row in rows if row.submission.mean is not None], human)


@router.get("/compare")
def compare_page(
    shared: AppStateDep, audience: AudienceDep, left: _Named = "", right: _Named = "", over: HorizontalAxis = "hours"
) -> Response:
    """Compares two campaigns; without two, shows the form only.

    Specs, scores, boards, costs and diversity.
    """
    with shared.db.reading() as session:
        context: dict[str, Any] = {"campaigns": list_campaigns(session), "chosen": None, "over": over}
        context |= {"left": left, "right": right}
        if left and right:
            one, other = find_campaign(session, left), find_campaign(session, right)
            context |= {
                "left": one.id,
                "right": other.id,
                "chosen": [
                    (one, load_compared_campaign(session, one, audience)),
                    (other, load_compared_campaign(session, other, audience)),
                ],
                "spec": spec_rows(public_spec(one), public_spec(other)),
                # Scores on one chart need one metric.
                "metric": find_metric(one.problem),
                "same_problem": one.problem == other.problem,
            }
    return render_page("compare.html", context)
