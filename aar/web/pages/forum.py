"""The forum's pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Response

from aar.forum.claims import active_claims
from aar.forum.edits import history
from aar.forum.posts import POST_KINDS, get_thread, list_posts
from aar.forum.queries import pinned_posts
from aar.forum.resolving import known_references, texts_of
from aar.forum.search import PostFilter, search
from aar.store.event_log import latest_event_id
from aar.web.api.paging import After, Number
from aar.web.lookup import CampaignId, campaign_of
from aar.web.pages.references import reference_links
from aar.web.pages.render import render
from aar.web.state import SharedDep

router = APIRouter(prefix="/campaigns/{campaign_id}/posts")
_ON_A_PAGE = 30


@dataclass(frozen=True, slots=True)
class Asked:
    """What the search form holds."""

    q: str
    kind: str
    author: str
    retracted: bool

    def only(self) -> PostFilter:
        """Which posts it considers."""
        return PostFilter(kind=self.kind or None, author=self.author or None, retracted=self.retracted)

    def address(self, after: int) -> str:
        """The query string of a page of the same search."""
        fields = {"q": self.q, "kind": self.kind, "author": self.author, "retracted": "true" if self.retracted else ""}
        return urlencode({name: value for name, value in fields.items() if value} | {"after": after})


def asked_for(
    q: Annotated[str, Query(max_length=400)] = "",
    kind: Annotated[str, Query(max_length=40)] = "",
    author: Annotated[str, Query(max_length=64)] = "",
    retracted: bool = False,
) -> Asked:
    """The search form as it was sent."""
    return Asked(q.replace("\0", " ").strip(), kind, author.replace("\0", " ").strip(), retracted)


@router.get("")
def forum_page(
    shared: SharedDep,
    campaign_id: CampaignId,
    asked: Annotated[Asked, Depends(asked_for)],
    after: After = 0,
) -> Response:
    """What people pinned, who claims what, and posts newest first; or those that match a search, best first."""
    with shared.db.reading() as session:
        view = campaign_of(session, campaign_id)
        cursor = latest_event_id(session, view.id)
        if asked.q:
            found = search(session, view.id, asked.q, limit=_ON_A_PAGE + 1, skip=after, only=asked.only())
        else:
            found = list_posts(
                session, view.id, after=after, limit=_ON_A_PAGE + 1, newest_first=True, kind=asked.kind or None
            )
        first = after == 0 and not asked.q
        pinned = pinned_posts(session, view.id) if first else []
        claims = active_claims(session, view.id) if first else []
    shown = found[:_ON_A_PAGE]
    more = len(found) > _ON_A_PAGE
    following = (after + _ON_A_PAGE if asked.q else shown[-1].id) if more else None
    context = {"posts": shown, "asked": asked, "following": following, "first": after == 0}
    context |= {"campaign": view, "cursor": cursor, "pinned": pinned, "claims": claims, "kinds": POST_KINDS}
    return render("forum.html", context)


@router.get("/{post_id}")
def post_page(shared: SharedDep, campaign_id: CampaignId, post_id: Number) -> Response:
    """A post with its comments, and what they said before."""
    with shared.db.reading() as session:
        view = campaign_of(session, campaign_id)
        cursor = latest_event_id(session, view.id)
        thread = get_thread(session, view.id, post_id)
        former = history(session, view.id, post_id)
        texts = texts_of(thread) + [each.body for each in former]
        links = reference_links(view.id, known_references(session, view.id, texts))
    context = {"campaign": view, "thread": thread, "cursor": cursor, "links": links, "former": former}
    return render("post.html", context)
