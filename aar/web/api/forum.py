"""The forum: reading for everybody, writing for those with a token."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from aar.forum.posts import (
    CommentView,
    PostView,
    cast_vote,
    create_comment,
    create_post,
    get_thread,
    list_posts,
)
from aar.forum.search import PostFilter, search
from aar.forum.similar import SimilarPost, similar_posts
from aar.forum.views import Citation, PostReference
from aar.web.api.paging import BIGGEST, After, Limit, Number, Page, page_of
from aar.web.auth import WriterDep, author_of
from aar.web.lookup import CampaignId, campaign_id_of, researcher_of_address
from aar.web.state import SharedDep

router = APIRouter(prefix="/campaigns/{campaign_id}", tags=["forum"])
IdempotencyKey = Annotated[
    str | None, Header(max_length=100, pattern=r"^[!-~]+$", description="A second request with it changes nothing")
]
PersonName = Annotated[str | None, Field(max_length=40, pattern=r"^[\w .-]+$", description="A person's name")]


class PostOut(BaseModel):
    """A post."""

    id: int
    author: str
    researcher_id: str | None
    by_human: bool
    kind: str
    title: str
    body: str
    score: int
    comments: int
    submission_number: int | None
    created_at: datetime
    cites: list[Citation]
    """Submissions that it cites, as they stand now."""
    refers: list[PostReference]
    """Posts that it names, as they stand now."""
    edited_at: datetime | None
    retracted_at: datetime | None
    retraction: str
    """Why it was taken back; empty while it stands."""
    pinned: bool

    @classmethod
    def of(cls, view: PostView) -> PostOut:
        """From a service's view."""
        return cls(**{name: getattr(view, name) for name in cls.model_fields})


class CommentOut(BaseModel):
    """A comment."""

    id: int
    post_id: int
    author: str
    by_human: bool
    body: str
    created_at: datetime
    edited_at: datetime | None
    retracted_at: datetime | None
    retraction: str

    @classmethod
    def of(cls, view: CommentView) -> CommentOut:
        """From a service's view."""
        return cls(**{name: getattr(view, name) for name in cls.model_fields})


class WrittenPostOut(PostOut):
    """A post that was just written."""

    similar: list[SimilarPost] = []
    """Posts that say nearly the same, nearest first."""


class ThreadOut(BaseModel):
    """A post with its comments, oldest first."""

    post: PostOut
    comments: list[CommentOut]


class Written(BaseModel):
    """What somebody writes."""

    model_config = ConfigDict(extra="forbid")

    author: PersonName = None


class PostIn(Written):
    """A new post."""

    kind: str
    title: str
    body: str
    submission_number: Annotated[int | None, Field(ge=1, le=BIGGEST)] = None


class CommentIn(Written):
    """A new comment."""

    body: str


class VoteIn(Written):
    """A vote; a second one by the same voter replaces the first."""

    value: Annotated[int, Field(ge=-1, le=1)]


async def search_filter(
    kind: str | None = None,
    author: Annotated[str | None, Query(max_length=64, description="Such as r2, or a person's name")] = None,
    submission: Annotated[int | None, Query(ge=1, le=10**9, description="Posts about or citing it: 7 for s7")] = None,
    since: Annotated[datetime | None, Query(description="Written then (UTC if no zone is given) or later")] = None,
    until: Annotated[datetime | None, Query(description="Written before then")] = None,
    retracted: Annotated[bool, Query(description="Whether retracted posts and comments count")] = False,
) -> PostFilter:
    """Which posts a search considers."""
    return PostFilter(kind, author, submission, _in_utc(since), _in_utc(until), retracted)


def _in_utc(moment: datetime | None) -> datetime | None:
    if moment is None or moment.tzinfo is None:
        return None if moment is None else moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the calendar's first or last day, in a zone where it is still another one
        return moment.replace(tzinfo=UTC)


@router.get("/posts")
def posts(
    shared: SharedDep,
    campaign_id: CampaignId,
    after: After = 0,
    limit: Limit = 50,
    kind: str | None = None,
    researcher: str | None = None,
    newest_first: bool = False,
) -> Page[PostOut]:
    """Posts by id, oldest first unless ``newest_first``."""
    with shared.db.reading() as session:
        own = campaign_id_of(session, campaign_id)
        by = researcher_of_address(session, own, researcher).id if researcher else None
        found = list_posts(
            session, own, after=after, limit=limit + 1, kind=kind, researcher_id=by, newest_first=newest_first
        )
    return page_of(found, limit, PostOut.of, lambda post: post.id)


@router.get("/posts/{post_id}")
def post(shared: SharedDep, campaign_id: CampaignId, post_id: Number) -> ThreadOut:
    """A post with its comments."""
    with shared.db.reading() as session:
        thread = get_thread(session, campaign_id_of(session, campaign_id), post_id)
    return ThreadOut(post=PostOut.of(thread.post), comments=[CommentOut.of(each) for each in thread.comments])


@router.get("/search")
def search_posts(
    shared: SharedDep,
    campaign_id: CampaignId,
    q: Annotated[str, Query(max_length=400, description="Free text")],
    only: Annotated[PostFilter, Depends(search_filter)],
    after: Annotated[int, Query(ge=0, le=10**6, description="Cursor: the next_cursor of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=99, description="Items on a page")] = 20,
) -> Page[PostOut]:
    """Posts that match, best first."""
    with shared.db.reading() as session:
        found = search(
            session,
            campaign_id_of(session, campaign_id),
            q.replace("\0", " "),
            limit=limit + 1,
            skip=after,
            only=only,
        )
    return Page(
        items=[PostOut.of(view) for view in found[:limit]], next_cursor=after + limit if len(found) > limit else None
    )


@router.post("/posts", status_code=201)
async def write_post(
    shared: SharedDep, who: WriterDep, campaign_id: CampaignId, sent: PostIn, idempotency_key: IdempotencyKey = None
) -> WrittenPostOut:
    """Write a post: a researcher as itself, the operator as a person. The answer names posts that say much the same."""

    def write(session: Session) -> PostView:
        own = campaign_id_of(session, campaign_id)
        return create_post(
            session,
            own,
            author_of(who, own, sent.author),
            kind=sent.kind,
            title=sent.title,
            body=sent.body,
            submission_number=sent.submission_number,
            idempotency_key=idempotency_key,
        )

    made = await shared.db.write(write)
    near = await shared.db.read(
        lambda session: similar_posts(session, made.campaign_id, made.title, made.body, other_than=made.id)
    )
    return WrittenPostOut(**dict(PostOut.of(made)), similar=near)


@router.post("/posts/{post_id}/comments", status_code=201)
async def write_comment(
    shared: SharedDep,
    who: WriterDep,
    campaign_id: CampaignId,
    post_id: Number,
    sent: CommentIn,
    idempotency_key: IdempotencyKey = None,
) -> CommentOut:
    """Comment on a post."""

    def write(session: Session) -> CommentView:
        own = campaign_id_of(session, campaign_id)
        author = author_of(who, own, sent.author)
        return create_comment(session, own, author, post_id, sent.body, idempotency_key=idempotency_key)

    return CommentOut.of(await shared.db.write(write))


@router.put("/posts/{post_id}/vote")
async def vote(shared: SharedDep, who: WriterDep, campaign_id: CampaignId, post_id: Number, sent: VoteIn) -> PostOut:
    """Vote for or against a post: +1 or -1."""

    def write(session: Session) -> PostView:
        own = campaign_id_of(session, campaign_id)
        return cast_vote(session, own, author_of(who, own, sent.author), post_id, sent.value)

    return PostOut.of(await shared.db.write(write))
