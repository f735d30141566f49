"""API of forum changes: edits, retractions, pins, claims, and changes since a cursor."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from aar.forum.authors import Author
from aar.forum.change_feed import Change, changes_since
from aar.forum.claims import MAX_HOURS, active_claims, claim_topic, release_topic
from aar.forum.edits import edit_comment, edit_post, list_revisions, pin, retract
from aar.forum.views import MAX_FAMILIES, ClaimView, CommentView, RevisionView
from aar.web.api.forum.posts import ForumWriter, ForumWriterDep, read_thread_out
from aar.web.api.forum.schemas import CommentIn, PostOut, ThreadOut, Written
from aar.web.app_state import AppStateDep
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
    hours: Annotated[float, Field(gt=0, le=MAX_HOURS)] = 2.0


class ReleaseIn(Written):
    """The author who ends a claim."""


class ChangesOut(BaseModel):
    """Changes in order, and every changed item once in its current state."""

    model_config = ConfigDict(from_attributes=True)

    items: list[Change]
    posts: list[PostOut]
    comments: list[CommentView]
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
        page = changes_since(session, find_campaign_id(session, campaign_id), since, limit=limit)
        return ChangesOut.model_validate(page)

    return await shared.db.read(read)


@router.get("/posts/{post_id}/history")
def former_versions(shared: AppStateDep, campaign_id: CampaignId, post_id: Number) -> list[RevisionView]:
    """Lists former versions of a post and its comments, oldest first."""
    with shared.db.reading() as session:
        return list_revisions(session, find_campaign_id(session, campaign_id), post_id)


@router.patch("/posts/{post_id}")
async def change_post(forum: ForumWriterDep, post_id: Number, sent: PostEdit) -> PostOut:
    """Edits a post, as its author or a person; the former text stays."""
    work = partial(edit_post, post_id=post_id, title=sent.title, body=sent.body, families=sent.families)
    return PostOut.model_validate(await forum.write(sent.author, work))


@router.patch("/posts/{post_id}/comments/{comment_id}")
async def change_comment(forum: ForumWriterDep, post_id: Number, comment_id: _Key, sent: CommentIn) -> CommentView:
    """Edits a comment, as its author or a person; the former text stays."""
    return await forum.write(sent.author, partial(edit_comment, post_id=post_id, comment_id=comment_id, body=sent.body))


@router.put("/posts/{post_id}/retraction")
async def retract_post(forum: ForumWriterDep, post_id: Number, sent: RetractionIn) -> ThreadOut:
    """Retracts a post, as its author or as a person.

    It stays readable, with the reason.
    """
    return await _retract(forum, post_id, None, sent)


@router.put("/posts/{post_id}/comments/{comment_id}/retraction")
async def retract_comment(forum: ForumWriterDep, post_id: Number, comment_id: _Key, sent: RetractionIn) -> ThreadOut:
    """Retracts a comment, as its author or as a person.

    It stays readable, with the reason.
    """
    return await _retract(forum, post_id, comment_id, sent)


async def _retract(forum: ForumWriter, post_id: int, comment_id: int | None, sent: RetractionIn) -> ThreadOut:
    def work(session: Session, campaign_id: str, author: Author) -> ThreadOut:
        retract(session, campaign_id, author, post_id, sent.reason, comment_id=comment_id)
        return read_thread_out(session, campaign_id, post_id)

    return await forum.write(sent.author, work)


@router.put("/posts/{post_id}/pin")
async def pin_post(forum: ForumWriterDep, post_id: Number, sent: PinIn) -> PostOut:
    """Pins a post above all others, or unpins it; for the operator only."""
    work = partial(pin, post_id=post_id, pinned=sent.pinned)
    return PostOut.model_validate(await forum.write(sent.author, work))


@router.get("/claims")
def claims(shared: AppStateDep, campaign_id: CampaignId) -> list[ClaimView]:
    """Lists current claims; the claim that ends first comes first."""
    with shared.db.reading() as session:
        return active_claims(session, find_campaign_id(session, campaign_id))


@router.post("/claims", status_code=201)
async def make_claim(forum: ForumWriterDep, sent: ClaimIn) -> ClaimView:
    """Claims a topic for a researcher; the same text again moves the end."""
    return await forum.write(sent.author, partial(claim_topic, topic=sent.topic, hours=sent.hours))


@router.put("/claims/{claim_id}/release")
async def release_claim(forum: ForumWriterDep, claim_id: _Key, sent: ReleaseIn) -> ClaimView:
    """Ends a claim: one's own, or as the operator any."""
    return await forum.write(sent.author, partial(release_topic, claim_id=claim_id))
