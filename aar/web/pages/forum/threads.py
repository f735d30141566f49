"""Pages of the forum: posts, search and threads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Response

from aar.errors import UsageError
from aar.families import FAMILIES
from aar.forum.authors import SCORER, Author
from aar.forum.claims import active_claims
from aar.forum.edits import list_revisions
from aar.forum.posts import POST_KINDS, get_thread, pinned_posts, vote_of
from aar.forum.references import known_references, thread_texts
from aar.forum.search import PostFilter, full_text_search, list_posts, similar_to_post
from aar.forum.views import MAX_BODY, MAX_COMMENT, MAX_TITLE
from aar.store.event_log import latest_event_id
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import current_user, human_name
from aar.web.pages.forum.form import (
    FAMILIES_HINT,
    FIELD_LABELS,
    ForumForm,
    field_max_length,
    optional_submission_number,
    readers_note,
    reference_links,
)
from aar.web.rendering import render_page
from aar.web.request_params import After, CampaignId, Number, find_campaign

router = APIRouter(prefix="/campaigns/{campaign_id}/posts")
_ON_A_PAGE = 30
FORM_CONTEXT = {
    "read_by": readers_note,
    "labels": FIELD_LABELS,
    "room": field_max_length,
    "scorer": SCORER,
    "families_hint": FAMILIES_HINT,
}
"""Context of every form of the forum."""


@dataclass(frozen=True, slots=True)
class SearchForm:
    """The values of the search form.

    Args:
        until: the last day that counts.
    """

    q: str = ""
    kind: str = ""
    author: str = ""
    submission: int | None = None
    since: date | None = None
    until: date | None = None
    retracted: bool = False
    family: str = ""

    @property
    def is_search(self) -> bool:
        """Returns True if it filters anything."""
        return bool(self._fields().keys() - {"retracted"})

    @property
    def has_filters(self) -> bool:
        """Returns True if it has filters besides words."""
        return bool(self._fields().keys() - {"q"})

    def post_filter(self) -> PostFilter:
        """Returns the filter for posts."""
        ended = None if self.until in (None, date.max) else self.until + timedelta(days=1)
        return PostFilter(
            kind=self.kind or None,
            author=self.author or None,
            submission=self.submission,
            since=_midnight(self.since),
            until=_midnight(ended),
            retracted=self.retracted,
            family=self.family or None,
        )

    def page_query(self, after: int) -> str:
        """Returns the query string of a page of the same search."""
        return urlencode(self._fields() | {"after": str(after)})

    def json_address(self) -> str:
        """Returns the same search as a JSON address below the campaign's."""
        wanted = self.post_filter()
        fields = self._fields() | {"retracted": str(self.retracted).lower()}
        fields |= {} if wanted.submission is None else {"submission": str(wanted.submission)}
        fields |= {} if wanted.until is None else {"until": f"{wanted.until:%Y-%m-%dT%H:%M:%SZ}"}
        return f"search?{urlencode(fields)}" if self.q else f"posts?{urlencode(fields | {'newest_first': 'true'})}"

    def _fields(self) -> dict[str, str]:
        fields = {
            "q": self.q,
            "kind": self.kind,
            "family": self.family,
            "author": self.author,
            "submission": "" if self.submission is None else f"s{self.submission}",
            "since": "" if self.since is None else self.since.isoformat(),
            "until": "" if self.until is None else self.until.isoformat(),
            "retracted": "true" if self.retracted else "",
        }
        return {name: value for name, value in fields.items() if value}


def read_search_form(
    q: Annotated[str, Query(max_length=400)] = "",
    kind: Annotated[str, Query(max_length=40)] = "",
    author: Annotated[str, Query(max_length=64)] = "",
    submission: Annotated[str, Query(max_length=20)] = "",
    since: Annotated[str, Query(max_length=20)] = "",
    until: Annotated[str, Query(max_length=20)] = "",
    retracted: bool = False,
    family: Annotated[str, Query(max_length=60)] = "",
) -> SearchForm:
    """Parses the search form. Raises UsageError for an invalid submission or day."""
    words, by = q.replace("\0", " ").strip(), author.replace("\0", " ").strip()
    return SearchForm(
        words, kind, by, optional_submission_number(submission), _day(since), _day(until), retracted, family
    )


@router.get("")
def forum_page(
    shared: AppStateDep,
    campaign_id: CampaignId,
    search: Annotated[SearchForm, Depends(read_search_form)],
    after: After = 0,
) -> Response:
    """Shows pinned posts, claims, and posts newest first, or search results."""
    return show_forum(shared, campaign_id, ForumForm(), search, after)


def show_forum(
    shared: AppState, campaign_id: str, draft: ForumForm, search: SearchForm = SearchForm(), after: int = 0
) -> Response:
    """Renders the forum's page with the form to write a post."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        cursor = latest_event_id(session, view.id)
        if search.q:
            found = full_text_search(
                session, view.id, search.q, limit=_ON_A_PAGE + 1, skip=after, only=search.post_filter()
            )
        else:
            found = list_posts(
                session, view.id, limit=_ON_A_PAGE + 1, after=after, newest_first=True, only=search.post_filter()
            )
        first = after == 0 and not search.is_search
        pinned = pinned_posts(session, view.id) if first else []
        claims = active_claims(session, view.id) if first else []
    shown = found[:_ON_A_PAGE]
    more = len(found) > _ON_A_PAGE
    following = (after + _ON_A_PAGE if search.q else shown[-1].id) if more else None
    context = {"posts": shown, "search": search, "following": following, "first": after == 0}
    context |= {"campaign": view, "cursor": cursor, "pinned": pinned, "claims": claims, "kinds": POST_KINDS}
    context["families"] = FAMILIES
    context |= {"draft": draft, "max_title": MAX_TITLE, "max_body": MAX_BODY, **FORM_CONTEXT}
    return render_page("forum.html", context, status=draft.status)


@router.get("/{post_id}")
def post_page(shared: AppStateDep, campaign_id: CampaignId, post_id: Number, similar: bool = False) -> Response:
    """Shows a post with comments and former versions; on request, near-duplicates too."""
    return show_thread(shared, campaign_id, post_id, ForumForm(), similar=similar)


def show_thread(
    shared: AppState, campaign_id: str, post_id: int, draft: ForumForm, *, similar: bool = False
) -> Response:
    """Renders a post's page with the form to comment."""
    me = current_user()
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        cursor = latest_event_id(session, view.id)
        thread = get_thread(session, view.id, post_id)
        former = list_revisions(session, view.id, post_id)
        texts = thread_texts(thread) + [each.body for each in former]
        links = reference_links(view.id, known_references(session, view.id, texts))
        author = Author(human_name(me.name), None) if me and me.is_operator else None
        voted = vote_of(session, post_id, author) if author else 0
        similar_found = similar_to_post(session, view.id, post_id) if similar else []
    context = {"campaign": view, "thread": thread, "cursor": cursor, "links": links, "former": former}
    context |= {"draft": draft, "voted": voted, "similar": similar_found, "max_comment": MAX_COMMENT, **FORM_CONTEXT}
    context |= {"own": author is not None and author.name == thread.post.author}
    return render_page("post.html", context, status=draft.status)


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time.min, UTC)


def _day(text: str) -> date | None:
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"invalid date {text[:20]!r}, expected YYYY-MM-DD", "Write it as 2026-11-22") from None
