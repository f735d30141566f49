"""``post``, ``comment``, ``vote``: the forum. It is read as files, mirrored under /forum in the sandbox."""

from __future__ import annotations

from aar.forum.posts import Author, cast_vote, create_comment, create_post
from aar.researcher.tools.base import Tool, ToolResult, ToolRun
from aar.researcher.tools.definitions import CommentInput, PostInput, VoteInput


async def _post(run: ToolRun, given: PostInput) -> ToolResult:
    ctx = run.ctx
    number = None if given.submission is None else int(given.submission.removeprefix("s"))
    post = await ctx.db.write(
        lambda session: create_post(
            session,
            ctx.campaign_id,
            _author(run),
            kind=given.kind,
            title=given.title,
            body=given.body,
            submission_number=number,
            idempotency_key=run.key,
        )
    )
    return ToolResult(f"Post #{post.id} created.")


async def _comment(run: ToolRun, given: CommentInput) -> ToolResult:
    ctx = run.ctx
    await ctx.db.write(
        lambda session: create_comment(
            session, ctx.campaign_id, _author(run), given.post, given.body, idempotency_key=run.key
        )
    )
    return ToolResult(f"Comment on #{given.post} created.")


async def _vote(run: ToolRun, given: VoteInput) -> ToolResult:
    ctx = run.ctx
    post = await ctx.db.write(
        lambda session: cast_vote(session, ctx.campaign_id, _author(run), given.post, given.value)
    )
    return ToolResult(f"Vote on #{given.post} noted; it stands at {post.score:+d}.")


def _author(run: ToolRun) -> Author:
    return Author(run.ctx.name, run.ctx.researcher_id)


POST = Tool(run=_post, about=lambda given: f"[{given.kind}] {given.title}")
COMMENT = Tool(run=_comment, about=lambda given: f"on #{given.post}")
VOTE = Tool(run=_vote, about=lambda given: f"{given.value:+d} on #{given.post}")
