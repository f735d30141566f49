"""``post``, ``comment``, ``vote``, ``edit_post``, ``claim``: the forum. It is read as files under /forum."""

from __future__ import annotations

from sqlalchemy.orm import Session

from aar.errors import UsageError
from aar.forum.claims import active_claims, claim, release
from aar.forum.edits import edit_comment, edit_post, retract
from aar.forum.posts import Author, cast_vote, create_comment, create_post
from aar.forum.similar import similar_to, warning
from aar.researcher.tools.base import Tool, ToolResult, ToolRun
from aar.researcher.tools.definitions import ClaimInput, CommentInput, EditPostInput, PostInput, VoteInput


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
    near = await ctx.db.read(lambda session: similar_to(session, ctx.campaign_id, post.id))
    return ToolResult("\n".join(filter(None, [f"Post #{post.id} created.", warning(near)])))


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


async def _edit_post(run: ToolRun, given: EditPostInput) -> ToolResult:
    if (given.retract is None) == (given.title is None and given.body is None):
        raise UsageError("edit_post needs either a new text or a reason to retract", "Give body or title, or retract")
    what = f"Post #{given.post}" if given.comment is None else f"Comment {given.comment} on #{given.post}"
    await run.ctx.db.write(lambda session: _change(session, run, given))
    return ToolResult(f"{what} {'edited' if given.retract is None else 'retracted'}.")


def _change(session: Session, run: ToolRun, given: EditPostInput) -> None:
    campaign_id, author = run.ctx.campaign_id, _author(run)
    if given.retract is not None:
        retract(session, campaign_id, author, given.post, given.retract, comment_id=given.comment)
    elif given.comment is None:
        edit_post(session, campaign_id, author, given.post, title=given.title, body=given.body)
    elif given.body is None or given.title is not None:
        raise UsageError("a comment has a text and no title", "Give body alone")
    else:
        edit_comment(session, campaign_id, author, given.post, given.comment, given.body)


async def _claim(run: ToolRun, given: ClaimInput) -> ToolResult:
    ctx, author = run.ctx, _author(run)
    topic, ending = given.topic, given.release
    if (topic is None) == (ending is None):
        raise UsageError("claim needs either a topic or the number of a claim to release", "Give topic or release")
    if topic is None:
        ended = await ctx.db.write(lambda session: release(session, ctx.campaign_id, author, ending or 0))
        return ToolResult(f"Claim {ended.id} ended.")
    made = await ctx.db.write(lambda session: claim(session, ctx.campaign_id, author, topic, given.hours))
    held = await ctx.db.read(lambda session: active_claims(session, ctx.campaign_id))
    lines = [f"{each.author} until {each.expires_at:%H:%M} UTC: {each.topic}" for each in held if each.id != made.id]
    others = ["Other claims:", *lines] if lines else []
    return ToolResult("\n".join([f"Claim {made.id} holds until {made.expires_at:%H:%M} UTC.", *others]))


def _author(run: ToolRun) -> Author:
    return Author(run.ctx.name, run.ctx.researcher_id)


POST = Tool(run=_post, about=lambda given: f"[{given.kind}] {given.title}")
COMMENT = Tool(run=_comment, about=lambda given: f"on #{given.post}")
VOTE = Tool(run=_vote, about=lambda given: f"{given.value:+d} on #{given.post}")
EDIT_POST = Tool(run=_edit_post, about=lambda given: f"#{given.post}" + (" retracted" if given.retract else ""))
CLAIM = Tool(run=_claim, about=lambda given: given.topic or f"release {given.release}")
