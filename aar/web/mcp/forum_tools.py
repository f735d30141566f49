"""MCP tools of the forum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from aar.forum.change_feed import changes_since
from aar.forum.claims import active_claims
from aar.forum.posts import (
    Author,
    CommentView,
    PostView,
    cast_vote,
    create_comment,
    create_post,
    get_thread,
    list_posts,
)
from aar.forum.search.full_text import PostFilter, full_text_search
from aar.forum.search.near_duplicates import similar_posts
from aar.forum.views import ClaimView
from aar.researcher.tools.forum import claim_or_release, edit_or_retract
from aar.text.sanitize import shorten
from aar.web.api.forum.external_rate_limit import rate_limited_write
from aar.web.api.forum.posts import as_utc
from aar.web.api.forum.schemas import CommentOut, PostOut, WrittenPostOut
from aar.web.mcp import tool_inputs
from aar.web.mcp.client import McpClient
from aar.web.mcp.tool import McpTool
from aar.web.request_params import find_researcher

T = TypeVar("T")
_EXCERPT = 300
_LONGEST = 60_000
"""Maximum characters of comments in one response, so that it fits into a small context window."""


async def _list(caller: McpClient, given: tool_inputs.ForumListInput) -> Any:
    def read(session: Session) -> list[PostView]:
        by = given.researcher and find_researcher(session, caller.campaign_id, given.researcher).id
        return list_posts(
            session,
            caller.campaign_id,
            after=given.after,
            limit=given.limit + 1,
            kind=given.kind,
            family=given.family,
            researcher_id=by or None,
            newest_first=given.newest_first,
        )

    found = await caller.shared.db.read(read)
    shown = found[: given.limit]
    return {"posts": [_brief(post) for post in shown], "next": shown[-1].id if len(found) > given.limit else None}


async def _read(caller: McpClient, given: tool_inputs.ForumReadInput) -> Any:
    thread = await caller.shared.db.read(lambda session: get_thread(session, caller.campaign_id, given.post))
    left = [comment for comment in thread.comments if comment.id > given.after_comment]
    shown: list[CommentView] = []
    room = _LONGEST
    while left and (not shown or len(left[0].body) <= room):
        room -= len(left[0].body)
        shown.append(left.pop(0))
    return {
        "post": PostOut.of(thread.post),
        "comments": [CommentOut.of(comment) for comment in shown],
        "more_after": shown[-1].id if left else None,
    }


async def _search(caller: McpClient, given: tool_inputs.ForumSearchInput) -> Any:
    about = None if given.submission is None else int(given.submission.removeprefix("s"))
    only = PostFilter(
        given.kind, given.author, about, as_utc(given.since), as_utc(given.until), given.retracted, given.family
    )
    words, limit = given.query.replace("\0", " "), given.limit
    found = await caller.shared.db.read(
        lambda session: full_text_search(
            session, caller.campaign_id, words, limit=limit + 1, skip=given.after, only=only
        )
    )
    more = given.after + limit if len(found) > limit else None
    return {"posts": [_brief(post) for post in found[:limit]], "next": more}


async def _changes(caller: McpClient, given: tool_inputs.ForumChangesInput) -> Any:
    found = await caller.shared.db.read(
        lambda session: changes_since(session, caller.campaign_id, given.since, limit=given.limit)
    )
    comments = [CommentOut.of(each).model_dump(mode="json", exclude={"body"}) for each in found.comments]
    return {
        "items": [asdict(each) | {"at": each.at.isoformat()} for each in found.items],
        "posts": [_brief(post) for post in found.posts],
        "comments": [
            shown | {"begins": shorten(each.body, _EXCERPT)}
            for shown, each in zip(comments, found.comments, strict=True)
        ],
        "claims": [_shown(each) for each in found.claims],
        "cursor": found.cursor,
        "more": found.more,
    }


async def _claims(caller: McpClient, given: tool_inputs.ForumClaimsInput) -> Any:
    held = await caller.shared.db.read(lambda session: active_claims(session, caller.campaign_id))
    return {"claims": [_shown(each) for each in held]}


async def _post(caller: McpClient, given: tool_inputs.ForumPostInput) -> WrittenPostOut:
    about = None if given.submission is None else int(given.submission.removeprefix("s"))

    def write(session: Session, author: Author) -> WrittenPostOut:
        made = create_post(
            session,
            caller.campaign_id,
            author,
            kind=given.kind,
            title=given.title,
            body=given.body,
            submission_number=about,
            families=given.families,
            idempotency_key=given.key,
        )
        near = similar_posts(session, caller.campaign_id, made.title, made.body, other_than=made.id)
        return WrittenPostOut(**dict(PostOut.of(made)), similar=near)

    return await _written(caller, write)


async def _comment(caller: McpClient, given: tool_inputs.ForumCommentInput) -> CommentOut:
    def write(session: Session, author: Author) -> CommentView:
        return create_comment(session, caller.campaign_id, author, given.post, given.body, idempotency_key=given.key)

    return CommentOut.of(await _written(caller, write))


async def _vote(caller: McpClient, given: tool_inputs.ForumVoteInput) -> Any:
    def write(session: Session, author: Author) -> PostView:
        return cast_vote(session, caller.campaign_id, author, given.post, given.value)

    return _brief(await _written(caller, write))


async def _edit(caller: McpClient, given: tool_inputs.ForumEditInput) -> Any:
    return {
        "done": await _written(
            caller, lambda session, author: edit_or_retract(session, caller.campaign_id, author, given)
        )
    }


async def _claim(caller: McpClient, given: tool_inputs.ForumClaimInput) -> Any:
    def write(session: Session, author: Author) -> ClaimView:
        return claim_or_release(session, caller.campaign_id, author, given)

    return _shown(await _written(caller, write))


async def _written(caller: McpClient, write: Callable[[Session, Author], T]) -> T:
    """Runs a write within an external researcher's hourly limit."""
    who, author = caller.writer(), caller.author()
    return await caller.shared.db.write(rate_limited_write(who, lambda session: write(session, author)))


def _brief(post: PostView) -> dict[str, Any]:
    shown: dict[str, Any] = PostOut.of(post).model_dump(mode="json", exclude={"body", "researcher_id"})
    return shown | {"begins": shorten(post.body, _EXCERPT)}


def _shown(claim: ClaimView) -> dict[str, Any]:
    return asdict(claim) | {"created_at": claim.created_at.isoformat(), "expires_at": claim.expires_at.isoformat()}


TOOLS = (
    McpTool("forum_list", tool_inputs.ForumListInput, _list),
    McpTool("forum_read", tool_inputs.ForumReadInput, _read),
    McpTool("forum_search", tool_inputs.ForumSearchInput, _search),
    McpTool("forum_changes", tool_inputs.ForumChangesInput, _changes),
    McpTool("forum_claims", tool_inputs.ForumClaimsInput, _claims),
    McpTool("forum_post", tool_inputs.ForumPostInput, _post, writes=True),
    McpTool("forum_comment", tool_inputs.ForumCommentInput, _comment, writes=True),
    McpTool("forum_vote", tool_inputs.ForumVoteInput, _vote, writes=True),
    McpTool("forum_edit", tool_inputs.ForumEditInput, _edit, writes=True),
    McpTool("forum_claim", tool_inputs.ForumClaimInput, _claim, writes=True),
)
