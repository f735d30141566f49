"""API of researchers and their transcripts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from aar.campaign.external_researchers import is_external
from aar.campaign.views import ResearcherView, list_researchers
from aar.readmodels.formatting import is_offline, model_label
from aar.readmodels.researchers.transcript import TranscriptItem, read_transcript
from aar.scoring.visibility import Audience, activity_seen_by
from aar.web.api.pagination import MAX_LIMIT, Limit, Page
from aar.web.app_state import AppStateDep
from aar.web.authentication import AudienceDep, PersonDep
from aar.web.path_params import CampaignId, ResearcherName, find_campaign, find_researcher

router = APIRouter(prefix="/campaigns/{campaign_id}/researchers", tags=["researchers"])


class ResearcherOut(BaseModel):
    """A researcher."""

    id: str
    name: str
    direction_key: str
    direction: str
    family: str
    model: str
    model_label: str
    """The model as people should read it; the offline search baseline is named as such."""
    offline: bool
    outside: bool
    """True for an external researcher, which has an agent of its own."""
    state: str
    cause: str
    doing: str
    """Researchers see only its first word."""
    active_seconds: float

    @classmethod
    def of(cls, view: ResearcherView, audience: Audience) -> ResearcherOut:
        """Converts a service's view, as an audience may see it."""
        made = {"model_label": model_label(view.model), "offline": is_offline(view.model)}
        made |= {"outside": is_external(view.model), "doing": activity_seen_by(view.doing, audience)}
        same = {name: getattr(view, name) for name in cls.model_fields if name not in made}
        return cls(**same, **made)


class BlockOut(BaseModel):
    """A part of a message: text, thinking, a tool's use or its result."""

    type: str
    title: str
    text: str


class TranscriptOut(BaseModel):
    """An entry of a transcript."""

    event_id: int
    at: datetime
    who: str
    """researcher, tool, controller."""
    note: str
    blocks: list[BlockOut]
    is_error: bool


@router.get("")
def researchers(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId) -> Page[ResearcherOut]:
    """Lists the whole team."""
    with shared.db.reading() as session:
        team = list_researchers(session, find_campaign(session, campaign_id).id)
    return Page(items=[ResearcherOut.of(view, audience) for view in team], next_cursor=None)


@router.get("/{name}")
def researcher(
    shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId, name: ResearcherName
) -> ResearcherOut:
    """Returns one researcher."""
    with shared.db.reading() as session:
        found = find_researcher(session, find_campaign(session, campaign_id).id, name)
    return ResearcherOut.of(found, audience)


@router.get("/{name}/transcript")
def transcript(
    shared: AppStateDep,
    _who: PersonDep,
    campaign_id: CampaignId,
    name: ResearcherName,
    before: Annotated[int, Query(ge=0, le=MAX_LIMIT, description="Only what came before this event; 0: newest")] = 0,
    limit: Limit = 50,
) -> Page[TranscriptOut]:
    """Returns a researcher's transcript in order, for people.

    ``next_cursor`` is the ``before`` of the earlier page.
    """
    with shared.db.reading() as session:
        view = find_researcher(session, find_campaign(session, campaign_id).id, name)
        found = read_transcript(session, view.id, before=before or None, limit=limit)
    return Page(items=[_entry(item) for item in found.items], next_cursor=found.earlier)


def _entry(item: TranscriptItem) -> TranscriptOut:
    return TranscriptOut(
        event_id=item.event_id,
        at=item.at,
        who=item.who,
        note=item.note,
        blocks=[BlockOut(type=block.type, title=block.title, text=block.text) for block in item.blocks],
        is_error=item.is_error,
    )
