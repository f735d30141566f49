"""API of researchers: transcripts, and for people only their workspaces (files, notebook, background jobs)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from aar.campaign.views import ResearcherView, list_researchers
from aar.errors import NotFound
from aar.readmodels.formatting import is_offline, model_label
from aar.readmodels.transcript import list_researcher_jobs, read_transcript, researcher_scrubber
from aar.readmodels.workspace_files import WorkspaceFile, WorkspaceFolder, read_workspace_path
from aar.scoring.visibility import Audience, activity_seen_by
from aar.text import clean_text
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import AudienceDep, PersonDep
from aar.web.request_params import (
    MAX_LIMIT,
    CampaignId,
    Limit,
    Page,
    ResearcherName,
    ViewOut,
    find_campaign,
    find_researcher,
)

router = APIRouter(prefix="/campaigns/{campaign_id}/researchers", tags=["researchers"])
FilePath = Annotated[str, Query(max_length=4000, description="Relative to the workspace, with slashes")]
NOTEBOOK = "NOTEBOOK.md"


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
        made |= {"outside": view.is_external, "doing": activity_seen_by(view.doing, audience)}
        same = {name: getattr(view, name) for name in cls.model_fields if name not in made}
        return cls(**same, **made)


class BlockOut(ViewOut):
    """A part of a message: text, thinking, a tool's use or its result."""

    type: str
    title: str
    text: str


class TranscriptOut(ViewOut):
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
        view = find_researcher(session, find_campaign(session, campaign_id).id, name)
    return ResearcherOut.of(view, audience)


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
        transcript = read_transcript(session, view.id, before=before or None, limit=limit)
    return Page(items=[TranscriptOut.model_validate(item) for item in transcript.items], next_cursor=transcript.earlier)


class JobOut(ViewOut):
    """A background job; lists have the newest first."""

    id: str
    command: str
    state: str
    """running, ended, lost."""
    said: str
    """Its state when its researcher last checked."""
    started_at: datetime


class EntryOut(ViewOut):
    """An entry of a folder: a folder, a file, or other (a link, say).

    Other entries are not opened.
    """

    name: str
    path: str
    kind: str
    size_bytes: int
    modified_at: datetime


class WorkspacePathOut(BaseModel):
    """A folder of a workspace, or a file."""

    path: str
    entries: list[EntryOut] | None
    """None for a file."""
    more: bool
    """True if a folder holds more than is listed, or a file more than ``text``."""
    size_bytes: int
    text: str | None
    """None for a folder, and for a file that is not text."""
    image: str | None
    """An image's media type; ``files/image`` returns the image."""


class NotebookOut(BaseModel):
    """The notebook of a researcher; empty before it wrote one."""

    text: str


@router.get("/{name}/jobs")
def jobs(shared: AppStateDep, campaign_id: CampaignId, name: ResearcherName, _who: PersonDep) -> list[JobOut]:
    """Lists background jobs, as recorded in the event log."""
    with shared.db.reading() as session:
        view = find_researcher(session, find_campaign(session, campaign_id).id, name)
        return [JobOut.model_validate(each) for each in list_researcher_jobs(session, view.id)]


@router.get("/{name}/files")
def files(
    shared: AppStateDep, campaign_id: CampaignId, name: ResearcherName, _who: PersonDep, path: FilePath = ""
) -> WorkspacePathOut:
    """Returns the folder or file at a workspace path; links are not followed."""
    with shared.db.reading() as session:
        view = find_researcher(session, find_campaign(session, campaign_id).id, name)
        return read_scrubbed_path(session, shared, view, path)


@router.get(
    "/{name}/files/image",
    response_class=Response,
    responses={200: {"content": {"image/*": {}}, "description": "PNG, JPEG, GIF or WebP"}},
)
def image(
    shared: AppStateDep, campaign_id: CampaignId, name: ResearcherName, _who: PersonDep, path: FilePath
) -> Response:
    """Returns an image of the workspace, up to 4 MiB."""
    with shared.db.reading() as session:
        view = find_researcher(session, find_campaign(session, campaign_id).id, name)
    file = read_workspace_path(workspace_path(shared, view), path)
    if not isinstance(file, WorkspaceFile) or file.image is None:
        raise NotFound(f"no image at {path[:200]!r}", "PNG, JPEG, GIF and WebP are shown")
    return Response(file.content, media_type=file.image)


@router.get("/{name}/notebook")
def notebook(shared: AppStateDep, campaign_id: CampaignId, name: ResearcherName, _who: PersonDep) -> NotebookOut:
    """Returns the notes that survive a researcher's context, in Markdown."""
    with shared.db.reading() as session:
        view = find_researcher(session, find_campaign(session, campaign_id).id, name)
        return NotebookOut(text=read_notebook(session, shared, view))


def workspace_path(shared: AppState, view: ResearcherView) -> Path:
    """Returns the folder of a researcher's workspace, if it is on this machine."""
    return shared.settings.campaign_dir(view.campaign_id) / "workspaces" / view.name


def read_notebook(session: Session, shared: AppState, view: ResearcherView) -> str:
    """Reads a researcher's notebook; empty if there is none."""
    try:
        return read_scrubbed_path(session, shared, view, NOTEBOOK).text or ""
    except NotFound:
        return ""


def read_scrubbed_path(session: Session, shared: AppState, view: ResearcherView, path: str) -> WorkspacePathOut:
    """Reads a workspace path without secrets and control characters. Raises NotFound."""
    place = read_workspace_path(workspace_path(shared, view), path)
    if isinstance(place, WorkspaceFolder):
        entries = [EntryOut.model_validate(each) for each in place.entries]
        return WorkspacePathOut(path=place.path, entries=entries, more=place.more, size_bytes=0, text=None, image=None)
    text = None if place.text is None else clean_text(researcher_scrubber(session, view.id).text(place.text))
    return WorkspacePathOut(
        path=place.path, entries=None, more=place.cut, size_bytes=place.size_bytes, text=text, image=place.image
    )
