"""Pages of a researcher: activity, submissions, transcript, workspace files."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from aar.budget.totals import read_totals
from aar.forum.search import PostFilter, list_posts
from aar.readmodels.transcript import list_researcher_jobs, read_transcript
from aar.scoring.submissions import list_submissions
from aar.scoring.visibility import RestrictedData, activity_seen_by, may_see, submission_seen_by
from aar.store.event_log import latest_event_id
from aar.web.api.researchers import FilePath, read_notebook, read_scrubbed_path, workspace_path
from aar.web.app_state import AppStateDep
from aar.web.authentication import AudienceDep, PersonDep
from aar.web.rendering import render_page
from aar.web.request_params import MAX_LIMIT, CampaignId, ResearcherName, find_campaign, find_researcher

router = APIRouter(prefix="/campaigns/{campaign_id}/researchers")


@router.get("/{name}")
def researcher_page(
    shared: AppStateDep,
    audience: AudienceDep,
    campaign_id: CampaignId,
    name: ResearcherName,
    before: Annotated[int, Query(ge=0, le=MAX_LIMIT)] = 0,
) -> Response:
    """Shows one researcher.

    For people it adds the workspace and the transcript: the newest part first, earlier parts by link.
    """
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        cursor = latest_event_id(session, view.id)
        researcher = find_researcher(session, view.id, name)
        submissions = list_submissions(session, view.id, researcher_id=researcher.id, limit=500)
        context: dict[str, Any] = {
            "campaign": view,
            "researcher": replace(researcher, doing=activity_seen_by(researcher.doing, audience)),
            "workspace": None,
            "transcript": None,
            "totals": read_totals(session, view.id).researchers[researcher.id],
            "submissions": [submission_seen_by(each, audience) for each in submissions],
            "newest": before == 0,
            "jobs": [],
            "posts": list_posts(
                session,
                view.id,
                only=PostFilter(researcher_id=researcher.id, retracted=True),
                limit=10,
                newest_first=True,
            ),
            "cursor": cursor,
        }
        if may_see(audience, RestrictedData.WORKSPACES):
            has_files = workspace_path(shared, researcher).is_dir()
            context["workspace"] = {"notebook": read_notebook(session, shared, researcher), "has_files": has_files}
            context["jobs"] = list_researcher_jobs(session, researcher.id)
        if may_see(audience, RestrictedData.TRANSCRIPTS):
            context["transcript"] = read_transcript(session, researcher.id, before=before or None, limit=60)
    return render_page("researcher.html", context)


@router.get("/{name}/files")
def files_page(
    shared: AppStateDep, campaign_id: CampaignId, name: ResearcherName, _who: PersonDep, path: FilePath = ""
) -> Response:
    """Shows a folder or a file of a researcher's workspace."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        cursor = latest_event_id(session, view.id)
        researcher = find_researcher(session, view.id, name)
        place = read_scrubbed_path(session, shared, researcher, path)
    steps = [step for step in place.path.split("/") if step]
    above = [("/".join(steps[: end + 1]), step) for end, step in enumerate(steps)]
    return render_page(
        "files.html",
        {"campaign": view, "researcher": researcher, "place": place, "above": above, "cursor": cursor},
    )
