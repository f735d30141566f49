"""API of chart data (JSON and CSV) and of alerts."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from aar.readmodels.alerts import list_alerts
from aar.readmodels.chart_data import ChartTable, to_csv
from aar.web.api.chart_tables import ChartName, chart_table
from aar.web.app_state import AppStateDep
from aar.web.authentication import AudienceDep
from aar.web.path_params import CampaignId, find_campaign

router = APIRouter(prefix="/campaigns/{campaign_id}", tags=["charts"])
CSV = "text/csv; charset=utf-8"
AS_CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {}}, "description": "A header and one line a row"}
}


class ChartOut(BaseModel):
    """The data of a chart; dollars are exact decimals, written as strings."""

    columns: list[str]
    rows: list[list[str | int | float | Decimal | None]]

    @classmethod
    def of(cls, table: ChartTable) -> ChartOut:
        """Converts a table."""
        return cls(columns=list(table.columns), rows=[list(row) for row in table.rows])


class AlertOut(BaseModel):
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
        return ChartOut.of(chart_table(session, find_campaign(session, campaign_id), name, audience))


@router.get("/alerts")
def standing_alerts(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId) -> list[AlertOut]:
    """Lists the current alerts: limits, low diversity, sandbox incidents, failed researchers."""
    with shared.db.reading() as session:
        found = list_alerts(session, find_campaign(session, campaign_id).id, audience)
    return [AlertOut(**asdict(each)) for each in found]


def csv_response(table: ChartTable, name: str) -> Response:
    """Returns a table as a file to save."""
    return Response(to_csv(table), media_type=CSV, headers={"Content-Disposition": f'inline; filename="{name}.csv"'})
