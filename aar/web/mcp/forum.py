"""The forum's tools."""

from __future__ import annotations

from typing import Any

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
from aar.forum.search import search
from aar.forum.text import shorten
from aar.web.api.forum_models import CommentOut, PostOut
from aar.web.lookup import researcher_of_address
from aar.web.mcp import inputs
from aar.web.mcp.caller import Caller
from aar.web.mcp.tool import Tool

_EXCERPT = 300
_LONGEST = 60_000
"""Characters of comments in one answer, so that a client with a small window can hold it."""


async def _list(caller: Caller, given: inputs.ForumListInput) -> Any:
    def read(session: Session) -> list[PostView]:
        by = given.researcher and researcher_of_address(session, caller.campaign_id, given.researcher).id
        return list_posts(
            session,
            caller.campaign_id,
            after=given.after,
            limit=given.limit + 1,
            kind=given.kind,
            researcher_id=by or None,
            newest_first=given.newest_first,
        )

    found = await caller.shared.db.read(read)
    shown = found[: given.limit]
    return {"posts": [_brief(post) for post in shown], "next": shown[-1].id if len(found) > given.limit else None}


async def _read(caller: Caller, given: inputs.ForumReadInput) -> Any:
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


async def _search(caller: Caller, given: inputs.ForumSearchInput) -> Any:
    found = await caller.shared.db.read(
        lambda session: search(session, caller.campaign_id, given.query.replace("\0", " "), limit=given.limit)
    )
    return {"posts": [_brief(post) for post in found]}


async def _post(caller: Caller, given: inputs.ForumPostInput) -> PostOut:
    about = None if given.submission is None else int(given.submission.removeprefix("s"))
    return PostOut.of(
        await caller.shared.db.write(
            lambda session: create_post(
                session,
                caller.campaign_id,
                caller.author(),
                kind=given.kind,
                title=given.title,
                body=given.body,
                submission_number=about,
                idempotency_key=given.key,
            )
        )
    )


async def _comment(caller: Caller, given: inputs.ForumCommentInput) -> CommentOut:
    return CommentOut.of(
        await caller.shared.db.write(
            lambda session: create_comment(
                session, caller.campaign_id, caller.author(), given.post, given.body, idempotency_key=given.key
            )
        )
    )


async def _vote(caller: Caller, given: inputs.ForumVoteInput) -> Any:
    post = await caller.shared.db.write(
        lambda session: cast_vote(session, caller.campaign_id, caller.author(), given.post, given.value)
    )
    return _brief(post)


def _brief(post: PostView) -> dict[str, Any]:
    shown: dict[str, Any] = PostOut.of(post).model_dump(mode="json", exclude={"body", "researcher_id"})
    return shown | {"begins": shorten(post.body, _EXCERPT)}


TOOLS = (
    Tool("forum_list", inputs.ForumListInput, _list),
    Tool("forum_read", inputs.ForumReadInput, _read),
    Tool("forum_search", inputs.ForumSearchInput, _search),
    Tool("forum_post", inputs.ForumPostInput, _post, writes=True),
    Tool("forum_comment", inputs.ForumCommentInput, _comment, writes=True),
    Tool("forum_vote", inputs.ForumVoteInput, _vote, writes=True),
)
