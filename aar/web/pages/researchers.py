"""A researcher's page: what it does, what it handed in, its transcript."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from aar.budget.totals import totals
from aar.report.transcript import read_transcript
from aar.scoring.submissions import list_submissions
from aar.store.event_log import latest_event_id
from aar.web.api.paging import BIGGEST
from aar.web.lookup import CampaignId, ResearcherName, campaign_of, researcher_of_address
from aar.web.pages.render import render
from aar.web.state import SharedDep

router = APIRouter(prefix="/campaigns/{campaign_id}/researchers")


@router.get("/{name}")
def researcher_page(
    shared: SharedDep,
    campaign_id: CampaignId,
    name: ResearcherName,
    before: Annotated[int, Query(ge=0, le=BIGGEST)] = 0,
) -> Response:
    """One researcher; the transcript's newest part first, earlier parts by link."""
    with shared.db.reading() as session:
        view = campaign_of(session, campaign_id)
        cursor = latest_event_id(session, view.id)
        researcher = researcher_of_address(session, view.id, name)
        context = {
            "campaign": view,
            "researcher": researcher,
            "totals": totals(session, view.id).researchers[researcher.id],
            "submissions": list_submissions(session, view.id, researcher_id=researcher.id, limit=500),
            "transcript": read_transcript(session, researcher.id, before=before or None, limit=60),
            "newest": before == 0,
            "cursor": cursor,
        }
    return render("researcher.html", context)
