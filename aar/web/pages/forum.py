"""The forum's pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from aar.forum.posts import get_thread, list_posts
from aar.forum.search import search
from aar.store.event_log import latest_event_id
from aar.web.api.paging import After, Number
from aar.web.lookup import CampaignId, campaign_of
from aar.web.pages.render import render
from aar.web.state import SharedDep

router = APIRouter(prefix="/campaigns/{campaign_id}/posts")
_ON_A_PAGE = 30


@router.get("")
def forum_page(
    shared: SharedDep,
    campaign_id: CampaignId,
    after: After = 0,
    q: Annotated[str, Query(max_length=400)] = "",
) -> Response:
    """Posts newest first, or those that match a search best first."""
    with shared.db.reading() as session:
        view = campaign_of(session, campaign_id)
        cursor = latest_event_id(session, view.id)
        asked = q.replace("\0", " ").strip()
        if asked:
            found = search(session, view.id, asked)
        else:
            found = list_posts(session, view.id, after=after, limit=_ON_A_PAGE + 1, newest_first=True)
    shown = found[:_ON_A_PAGE]
    older = shown[-1].id if len(found) > _ON_A_PAGE and not asked else None
    context = {"campaign": view, "posts": shown, "q": asked, "older": older, "cursor": cursor, "first": after == 0}
    return render("forum.html", context)


@router.get("/{post_id}")
def post_page(shared: SharedDep, campaign_id: CampaignId, post_id: Number) -> Response:
    """A post with its comments."""
    with shared.db.reading() as session:
        view = campaign_of(session, campaign_id)
        cursor = latest_event_id(session, view.id)
        thread = get_thread(session, view.id, post_id)
    return render("post.html", {"campaign": view, "thread": thread, "cursor": cursor})
