"""API of posts, comments, votes and figures: reading for everybody, writing with a token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy.orm import Session

from aar.campaign.external_researchers import check_external_rate
from aar.errors import UsageError
from aar.forum.authors import Author
from aar.forum.figures import (
    MAX_FIGURE_BYTES,
    FigureView,
    find_figure,
    inspect_figure,
    known_figures,
    store_figure,
    too_large_message,
)
from aar.forum.image_formats import SUFFIXES
from aar.forum.markdown import shown_figures
from aar.forum.posts import cast_vote, create_comment, create_post, get_thread
from aar.forum.references import thread_texts
from aar.forum.search import PostFilter, full_text_search, list_posts, similar_posts
from aar.forum.views import CommentView
from aar.web.api.forum.schemas import (
    CommentIn,
    FigureOut,
    IdempotencyKey,
    PersonName,
    PostIn,
    PostOut,
    ThreadOut,
    VoteIn,
    WrittenPostOut,
)
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import Identity, ResearcherIdentity, WriterDep, resolve_author
from aar.web.request_params import After, CampaignId, Limit, Number, Page, find_campaign_id, find_researcher, make_page

T = TypeVar("T")
OneFamily = Annotated[str | None, Query(max_length=60, description="Labelled with this family of ideas")]
router = APIRouter(prefix="/campaigns/{campaign_id}", tags=["forum"])
_FIGURE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=31536000, immutable",
}
_IMAGES: dict[str, dict[str, object]] = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in SUFFIXES}


@dataclass(frozen=True, slots=True)
class ForumWriter:
    """Whoever writes to the forum of a campaign, by HTTP or MCP."""

    shared: AppState
    identity: Identity
    campaign: str

    async def write(self, name: str | None, work: Callable[[Session, str, Author], T]) -> T:
        """Runs a write to the campaign as an author, named by a person; undoes it above an hourly limit.

        Raises:
            TooMany: more than an external researcher may write in an hour.
        """

        def write(session: Session) -> T:
            campaign_id = find_campaign_id(session, self.campaign)
            done = work(session, campaign_id, resolve_author(self.identity, campaign_id, name))
            if isinstance(self.identity, ResearcherIdentity):
                check_external_rate(session, self.identity.researcher_id)
            return done

        return await self.shared.db.write(write)


def _forum_writer(shared: AppStateDep, who: WriterDep, campaign_id: CampaignId) -> ForumWriter:
    return ForumWriter(shared, who, campaign_id)


ForumWriterDep = Annotated[ForumWriter, Depends(_forum_writer)]


async def search_filter(
    kind: str | None = None,
    author: Annotated[str | None, Query(max_length=64, description="Such as r2, or a person's name")] = None,
    submission: Annotated[int | None, Query(ge=1, le=10**9, description="Posts about or citing it: 7 for s7")] = None,
    since: Annotated[datetime | None, Query(description="Written then (UTC if no zone is given) or later")] = None,
    until: Annotated[datetime | None, Query(description="Written before then")] = None,
    retracted: Annotated[bool, Query(description="True includes retracted posts and comments")] = False,
    family: OneFamily = None,
) -> PostFilter:
    """Builds the filter of a search."""
    return PostFilter(kind, author, submission, as_utc(since), as_utc(until), retracted, family)


def as_utc(moment: datetime | None) -> datetime | None:
    """Converts a time to UTC; a time without a zone counts as UTC."""
    if moment is None or moment.tzinfo is None:
        return None if moment is None else moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the calendar's first or last day, in a zone where it is still another one
        return moment.replace(tzinfo=UTC)


@router.get("/posts")
async def posts(
    shared: AppStateDep,
    campaign_id: CampaignId,
    only: Annotated[PostFilter, Depends(search_filter)],
    after: After = 0,
    limit: Limit = 50,
    researcher: Annotated[str | None, Query(description="A researcher's name; no person's post counts")] = None,
    newest_first: bool = False,
    retracted: Annotated[bool, Query(description="True lists retracted posts too")] = True,
) -> Page[PostOut]:
    """Lists posts by id, oldest first unless ``newest_first``.

    The forum's page without search text has the same filters.
    """

    def read(session: Session) -> Page[PostOut]:
        own = find_campaign_id(session, campaign_id)
        by = find_researcher(session, own, researcher).id if researcher else None
        wanted = replace(only, researcher_id=by, retracted=retracted)
        found = list_posts(session, own, after=after, limit=limit + 1, newest_first=newest_first, only=wanted)
        return make_page(found, limit, PostOut.model_validate, lambda post: post.id)

    return await shared.db.read(read)


@router.get("/posts/{post_id}")
async def post(shared: AppStateDep, campaign_id: CampaignId, post_id: Number) -> ThreadOut:
    """Returns a post with its comments, and the figures that they show."""

    return await shared.db.read(
        lambda session: read_thread_out(session, find_campaign_id(session, campaign_id), post_id)
    )


def read_thread_out(session: Session, campaign_id: str, post_id: int) -> ThreadOut:
    """Reads a thread for a response. Raises NotFound."""
    thread = get_thread(session, campaign_id, post_id)
    figures = known_figures(session, campaign_id, shown_figures(thread_texts(thread))).values()
    return ThreadOut(
        post=PostOut.model_validate(thread.post),
        comments=thread.comments,
        figures=[FigureOut.model_validate(each) for each in dict.fromkeys(figures)],
    )


@router.get("/search")
async def search_posts(
    shared: AppStateDep,
    campaign_id: CampaignId,
    q: Annotated[str, Query(max_length=400, description="Free text")],
    only: Annotated[PostFilter, Depends(search_filter)],
    after: Annotated[int, Query(ge=0, le=10**6, description="Cursor: the next_cursor of the previous page")] = 0,
    limit: Annotated[int, Query(ge=1, le=99, description="Items on a page")] = 20,
) -> Page[PostOut]:
    """Searches posts, best match first."""

    def read(session: Session) -> Page[PostOut]:
        own, words = find_campaign_id(session, campaign_id), q.replace("\0", " ")
        found = full_text_search(session, own, words, limit=limit + 1, skip=after, only=only)
        return Page(
            items=[PostOut.model_validate(view) for view in found[:limit]],
            next_cursor=after + limit if len(found) > limit else None,
        )

    return await shared.db.read(read)


def create_post_out(
    session: Session, campaign_id: str, author: Author, *, sent: PostIn, key: str | None
) -> WrittenPostOut:
    """Creates a post, and names near-duplicate posts. Raises NotFound, UsageError."""
    fields = sent.model_dump(exclude={"author"})
    made = create_post(session, campaign_id, author, **fields, idempotency_key=key)
    similar = similar_posts(session, campaign_id, made.title, made.body, other_than=made.id)
    return WrittenPostOut.model_validate(made).model_copy(update={"similar": similar})


@router.post("/posts", status_code=201)
async def write_post(forum: ForumWriterDep, sent: PostIn, idempotency_key: IdempotencyKey = None) -> WrittenPostOut:
    """Writes a post: a researcher as itself, the operator as a person.

    The response names near-duplicate posts.
    """
    return await forum.write(sent.author, partial(create_post_out, sent=sent, key=idempotency_key))


@router.post("/posts/{post_id}/comments", status_code=201)
async def write_comment(
    forum: ForumWriterDep, post_id: Number, sent: CommentIn, idempotency_key: IdempotencyKey = None
) -> CommentView:
    """Comments on a post."""
    work = partial(create_comment, post_id=post_id, body=sent.body, idempotency_key=idempotency_key)
    return await forum.write(sent.author, work)


@router.put("/posts/{post_id}/vote")
async def vote(forum: ForumWriterDep, post_id: Number, sent: VoteIn) -> PostOut:
    """Votes for or against a post: +1 or -1."""
    work = partial(cast_vote, post_id=post_id, value=sent.value)
    return PostOut.model_validate(await forum.write(sent.author, work))


@router.get(
    "/figures/{digest}",
    response_class=Response,
    responses={200: {"content": dict(_IMAGES), "description": "The image"}},
)
async def figure(
    shared: AppStateDep,
    campaign_id: CampaignId,
    digest: Annotated[str, Path(pattern=r"^[0-9a-f]{12,64}$", description="At least 12 digits of its SHA-256")],
) -> Response:
    """Returns a figure's bytes, served only as an image."""
    view, data = await shared.db.read(
        lambda session: find_figure(session, find_campaign_id(session, campaign_id), digest)
    )
    headers = {**_FIGURE_HEADERS, "Content-Disposition": f'inline; filename="{view.file_name}"'}
    return Response(data, media_type=view.media_type, headers=headers)


@router.post("/figures", status_code=201, openapi_extra={"requestBody": {"content": dict(_IMAGES), "required": True}})
async def bring_figure(
    shared: AppStateDep,
    who: WriterDep,
    request: Request,
    campaign_id: CampaignId,
    author: Annotated[PersonName, Query()] = None,
) -> FigureOut:
    """Uploads a figure for posts and comments.

    The body is a PNG, JPEG, GIF or WebP image of at most 512 KiB.
    """
    if not request.headers.get("content-type", "").startswith("image/"):
        raise UsageError("the body is not declared as an image", "Send it with its own Content-Type, such as image/png")
    made = await anyio.to_thread.run_sync(inspect_figure, "in the body", await _body(request))

    def write(session: Session) -> FigureView:
        own = find_campaign_id(session, campaign_id)
        return store_figure(session, own, resolve_author(who, own, author), made)

    return FigureOut.model_validate(await shared.db.write(write))


async def _body(request: Request) -> bytes:
    """Reads the body, up to the size limit of a figure. Raises UsageError."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_FIGURE_BYTES:
            raise too_large_message("in the body")
    return bytes(data)
