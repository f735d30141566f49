"""The data of every chart, as JSON and CSV, and what a person should look at first."""

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
    """A chart's data; dollars are exact decimals, written as strings."""

    columns: list[str]
    rows: list[list[str | int | float | Decimal | None]]

    @classmethod
    def of(cls, table: ChartTable) -> ChartOut:
        """From a table."""
        return cls(columns=list(table.columns), rows=[list(row) for row in table.rows])


class AlertOut(BaseModel):
    """Something to look at."""

    at: datetime
    kind: str
    """limit, diversity, incident, failure."""
    grave: bool
    """Whether it stopped something, or somebody tried what they must not."""
    text: str
    researcher: str
    """Empty for the whole campaign."""
    count: int


@router.get("/charts/{name}.csv", response_class=Response, responses=AS_CSV)
def chart_csv(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId, name: ChartName) -> Response:
    """A chart's data as CSV."""
    with shared.db.reading() as session:
        table = chart_table(session, find_campaign(session, campaign_id), name, audience)
    return csv_response(table, f"{campaign_id}-{name}")


@router.get("/charts/{name}")
def chart(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId, name: ChartName) -> ChartOut:
    """A chart's data."""
    with shared.db.reading() as session:
        return ChartOut.of(chart_table(session, find_campaign(session, campaign_id), name, audience))


@router.get("/alerts")
def standing_alerts(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId) -> list[AlertOut]:
    """Limits near or reached, ideas that collapse, incidents in sandboxes, researchers that failed."""
    with shared.db.reading() as session:
        found = list_alerts(session, find_campaign(session, campaign_id).id, audience)
    return [AlertOut(**asdict(each)) for each in found]


def csv_response(table: ChartTable, name: str) -> Response:
    """A table as a file to save."""
    return Response(to_csv(table), media_type=CSV, headers={"Content-Disposition": f'inline; filename="{name}.csv"'})
