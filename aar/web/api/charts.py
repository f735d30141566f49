"""API of chart data (JSON and CSV) and of alerts."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from aar.budget.totals import read_totals
from aar.campaign.views import CampaignView, list_researchers
from aar.readmodels.alerts import list_alerts
from aar.readmodels.chart_data import ChartTable, cost_table, diversity_table, lineage_table, score_table, to_csv
from aar.readmodels.leaderboard import find_metric
from aar.readmodels.progress import list_visible_submissions, read_progress
from aar.scoring.visibility import Audience
from aar.web.app_state import AppStateDep
from aar.web.authentication import AudienceDep
from aar.web.request_params import CampaignId, ViewOut, find_campaign

router = APIRouter(prefix="/campaigns/{campaign_id}", tags=["charts"])
CSV = "text/csv; charset=utf-8"
AS_CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {}}, "description": "A header and one line a row"}
}


class ChartOut(ViewOut):
    """The data of a chart; dollars are exact decimals, written as strings."""

    columns: list[str]
    rows: list[list[str | int | float | Decimal | None]]


class AlertOut(ViewOut):
    """An alert that people should read first."""

    at: datetime
    kind: str
    """limit, diversity, incident, failure."""
    grave: bool
    """True if it stopped something, or a forbidden action was tried."""
    text: str
    researcher: str
    """Empty for the whole campaign."""
    count: int


@router.get("/charts/{name}.csv", response_class=Response, responses=AS_CSV)
def chart_csv(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId, name: ChartName) -> Response:
    """Returns a chart's data as CSV."""
    with shared.db.reading() as session:
        table = chart_table(session, find_campaign(session, campaign_id), name, audience)
    return csv_response(table, f"{campaign_id}-{name}")


@router.get("/charts/{name}")
def chart(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId, name: ChartName) -> ChartOut:
    """Returns a chart's data."""
    with shared.db.reading() as session:
        return ChartOut.model_validate(chart_table(session, find_campaign(session, campaign_id), name, audience))


@router.get("/alerts")
def standing_alerts(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId) -> list[AlertOut]:
    """Lists the current alerts: limits, low diversity, sandbox incidents, failed researchers."""
    with shared.db.reading() as session:
        alerts = list_alerts(session, find_campaign(session, campaign_id).id, audience)
    return [AlertOut.model_validate(each) for each in alerts]


def csv_response(table: ChartTable, name: str) -> Response:
    """Returns a table as a file to save."""
    return Response(to_csv(table), media_type=CSV, headers={"Content-Disposition": f'inline; filename="{name}.csv"'})


class ChartName(StrEnum):
    """The name of a chart table."""

    SCORE = "score"
    DIVERSITY = "diversity"
    LINEAGE = "lineage"
    COSTS = "costs"


def chart_table(session: Session, view: CampaignView, name: ChartName, audience: Audience) -> ChartTable:
    """Returns the data of a campaign's chart, as an audience may see it."""
    if name is ChartName.COSTS:
        totals = read_totals(session, view.id)
        team = list_researchers(session, view.id)
        return cost_table({each.name: totals.researchers[each.id] for each in team}, totals.campaign)
    metric = find_metric(view.problem)
    submissions = list_visible_submissions(session, view.id, audience)
    if name is ChartName.LINEAGE:
        return lineage_table(submissions)
    higher = metric is None or metric.higher_is_better
    so_far = read_progress(session, view.id, submissions, higher_is_better=higher)
    return score_table(so_far) if name is ChartName.SCORE else diversity_table(so_far)
