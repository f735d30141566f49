"""API of forum changes: edits, retractions, pins, claims, and changes since a cursor."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from aar.forum import claims as claiming
from aar.forum.change_feed import Change, changes_since
from aar.forum.edits import edit_comment, edit_post, list_revisions, pin, retract
from aar.forum.views import MAX_FAMILIES, ClaimView, CommentView, PostView, RevisionView
from aar.web.api.forum.posts import rate_limited_write, read_thread_out
from aar.web.api.forum.schemas import CommentIn, CommentOut, PostOut, ThreadOut, Written
from aar.web.app_state import AppStateDep
from aar.web.authentication import WriterDep, resolve_author
from aar.web.request_params import MAX_LIMIT, CampaignId, Limit, Number, find_campaign_id

router = APIRouter(prefix="/campaigns/{campaign_id}", tags=["forum"])
_Key = Annotated[int, Path(ge=0, le=MAX_LIMIT)]


class PostEdit(Written):
    """New text for a post; missing fields stay."""

    title: str | None = None
    body: str | None = None
    families: Annotated[list[str] | None, Field(max_length=MAX_FAMILIES)] = None


class RetractionIn(Written):
    """The reason of a retraction."""

    reason: str


class PinIn(Written):
    """A request to pin or unpin a post."""

    pinned: bool


class ClaimIn(Written):
    """A topic that a researcher claims, and the duration from now."""

    topic: str
    hours: Annotated[float, Field(gt=0, le=claiming.MAX_HOURS)] = 2.0


class ReleaseIn(Written):
    """The author who ends a claim."""


class ChangesOut(BaseModel):
    """Changes in order, and every changed item once in its current state."""

    items: list[Change]
    posts: list[PostOut]
    comments: list[CommentOut]
    claims: list[ClaimView]
    cursor: int
    """Pass it as ``since`` next time."""
    more: bool
    """True if more changes are available."""


@router.get("/forum/changes")
async def changes(
    shared: AppStateDep,
    campaign_id: CampaignId,
    since: Annotated[
        int, Query(ge=0, le=MAX_LIMIT, description="The cursor of the previous response; 0 for everything")
    ] = 0,
    limit: Limit = 200,
) -> ChangesOut:
    """Lists forum changes since a cursor, in order.

    Posts, comments, votes, edits, retractions, pins, mentions and claims.
    """

    def read(session: Session) -> ChangesOut:
        found = changes_since(session, find_campaign_id(session, campaign_id), since, limit=limit)
        return ChangesOut(
            items=found.items,
            posts=[PostOut.of(each) for each in found.posts],
            comments=[CommentOut.of(each) for each in found.comments],
            claims=found.claims,
            cursor=found.cursor,
            more=found.more,
        )

    return await shared.db.read(read)


@router.get("/posts/{post_id}/history")
def former_versions(shared: AppStateDep, campaign_id: CampaignId, post_id: Number) -> list[RevisionView]:
    """Lists former versions of a post and its comments, oldest first."""
    with shared.db.reading() as session:
        return list_revisions(session, find_campaign_id(session, campaign_id), post_id)


@router.patch("/posts/{post_id}")
async def change_post(
    shared: AppStateDep, who: WriterDep, campaign_id: CampaignId, post_id: Number, sent: PostEdit
) -> PostOut:
    """Edits a post, as its author or a person; the former text stays."""

    def write(session: Session) -> PostView:
        own = find_campaign_id(session, campaign_id)
        author = resolve_author(who, own, sent.author)
        return edit_post(session, own, author, post_id, title=sent.title, body=sent.body, families=sent.families)

    return PostOut.of(await shared.db.write(rate_limited_write(who, write)))


@router.patch("/posts/{post_id}/comments/{comment_id}")
async def change_comment(
    shared: AppStateDep, who: WriterDep, campaign_id: CampaignId, post_id: Number, comment_id: _Key, sent: CommentIn
) -> CommentOut:
    """Edits a comment, as its author or a person; the former text stays."""

    def write(session: Session) -> CommentView:
        own = find_campaign_id(session, campaign_id)
        author = resolve_author(who, own, sent.author)
        return edit_comment(session, own, author, post_id, comment_id, sent.body)

    return CommentOut.of(await shared.db.write(rate_limited_write(who, write)))


@router.put("/posts/{post_id}/retraction")
async def retract_post(
    shared: AppStateDep, who: WriterDep, campaign_id: CampaignId, post_id: Number, sent: RetractionIn
) -> ThreadOut:
    """Retracts a post, as its author or as a person.

    It stays readable, with the reason.
    """
    return await _retract(shared, who, campaign_id, post_id, None, sent)


@router.put("/posts/{post_id}/comments/{comment_id}/retraction")
async def retract_comment(
    shared: AppStateDep, who: WriterDep, campaign_id: CampaignId, post_id: Number, comment_id: _Key, sent: RetractionIn
) -> ThreadOut:
    """Retracts a comment, as its author or as a person.

    It stays readable, with the reason.
    """
    return await _retract(shared, who, campaign_id, post_id, comment_id, sent)


@router.put("/posts/{post_id}/pin")
async def pin_post(
    shared: AppStateDep, who: WriterDep, campaign_id: CampaignId, post_id: Number, sent: PinIn
) -> PostOut:
    """Pins a post above all others, or unpins it; for the operator only."""

    def write(session: Session) -> PostView:
        own = find_campaign_id(session, campaign_id)
        return pin(session, own, resolve_author(who, own, sent.author), post_id, pinned=sent.pinned)

    return PostOut.of(await shared.db.write(rate_limited_write(who, write)))


@router.get("/claims")
def claims(shared: AppStateDep, campaign_id: CampaignId) -> list[ClaimView]:
    """Lists current claims; the claim that ends first comes first."""
    with shared.db.reading() as session:
        return claiming.active_claims(session, find_campaign_id(session, campaign_id))


@router.post("/claims", status_code=201)
async def make_claim(shared: AppStateDep, who: WriterDep, campaign_id: CampaignId, sent: ClaimIn) -> ClaimView:
    """Claims a topic for a researcher; the same text again moves the end."""

    def write(session: Session) -> ClaimView:
        own = find_campaign_id(session, campaign_id)
        return claiming.claim_topic(session, own, resolve_author(who, own, sent.author), sent.topic, sent.hours)

    return await shared.db.write(rate_limited_write(who, write))


@router.put("/claims/{claim_id}/release")
async def release_claim(
    shared: AppStateDep, who: WriterDep, campaign_id: CampaignId, claim_id: _Key, sent: ReleaseIn
) -> ClaimView:
    """Ends a claim: one's own, or as the operator any."""

    def write(session: Session) -> ClaimView:
        own = find_campaign_id(session, campaign_id)
        return claiming.release_topic(session, own, resolve_author(who, own, sent.author), claim_id)

    return await shared.db.write(rate_limited_write(who, write))


async def _retract(
    shared: AppStateDep, who: WriterDep, campaign_id: str, post_id: int, comment_id: int | None, sent: RetractionIn
) -> ThreadOut:
    def write(session: Session) -> ThreadOut:
        own = find_campaign_id(session, campaign_id)
        author = resolve_author(who, own, sent.author)
        retract(session, own, author, post_id, sent.reason, comment_id=comment_id)
        return read_thread_out(session, own, post_id)

    return await shared.db.write(rate_limited_write(who, write))
