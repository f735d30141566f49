"""``post``, ``comment``, ``vote``, ``edit_post``, ``claim``: tools that write to the forum.

Its files are in /forum.
"""

from __future__ import annotations

from aar.forum.claims import active_claims
from aar.forum.posts import Author, cast_vote, create_comment, create_post
from aar.forum.search.near_duplicates import duplicate_warning, similar_to_post
from aar.researcher.tools.definitions import ClaimInput, CommentInput, EditPostInput, PostInput, VoteInput
from aar.researcher.tools.forum.edits import claim_or_release, edit_or_retract
from aar.researcher.tools.forum.workspace_figures import describe_figures, read_figures
from aar.researcher.tools.tool import Tool, ToolResult, ToolRun
from aar.store.models import Comment, Post


async def _post(run: ToolRun, given: PostInput) -> ToolResult:
    ctx = run.ctx
    number = None if given.submission is None else int(given.submission.removeprefix("s"))
    figures = await read_figures(run, _author(run), given.body, Post)
    post = await ctx.db.write(
        lambda session: create_post(
            session,
            ctx.campaign_id,
            _author(run),
            kind=given.kind,
            title=given.title,
            body=given.body,
            submission_number=number,
            families=given.families,
            idempotency_key=run.key,
            figures=figures,
        )
    )
    near = await ctx.db.read(lambda session: similar_to_post(session, ctx.campaign_id, post.id))
    return ToolResult(
        "\n".join(filter(None, [f"Post #{post.id} created.", *describe_figures(figures), duplicate_warning(near)]))
    )


async def _comment(run: ToolRun, given: CommentInput) -> ToolResult:
    ctx, author = run.ctx, _author(run)
    figures = await read_figures(run, author, given.body, Comment)
    await ctx.db.write(
        lambda session: create_comment(
            session, ctx.campaign_id, author, given.post, given.body, idempotency_key=run.key, figures=figures
        )
    )
    return ToolResult("\n".join([f"Comment on #{given.post} created.", *describe_figures(figures)]))


async def _vote(run: ToolRun, given: VoteInput) -> ToolResult:
    ctx = run.ctx
    post = await ctx.db.write(
        lambda session: cast_vote(session, ctx.campaign_id, _author(run), given.post, given.value)
    )
    return ToolResult(f"Vote on #{given.post} noted; it stands at {post.score:+d}.")


async def _edit_post(run: ToolRun, given: EditPostInput) -> ToolResult:
    ctx, author = run.ctx, _author(run)
    figures = await read_figures(run, author, given.body)
    done = await ctx.db.write(lambda session: edit_or_retract(session, ctx.campaign_id, author, given, figures))
    return ToolResult("\n".join([done, *describe_figures(figures)]))


async def _claim(run: ToolRun, given: ClaimInput) -> ToolResult:
    ctx = run.ctx
    done = await ctx.db.write(lambda session: claim_or_release(session, ctx.campaign_id, _author(run), given))
    if given.topic is None:
        return ToolResult(f"Claim {done.id} ended.")
    held = await ctx.db.read(lambda session: active_claims(session, ctx.campaign_id))
    lines = [f"{each.author} until {each.expires_at:%H:%M} UTC: {each.topic}" for each in held if each.id != done.id]
    others = ["Other claims:", *lines] if lines else []
    return ToolResult("\n".join([f"Claim {done.id} holds until {done.expires_at:%H:%M} UTC.", *others]))


def _author(run: ToolRun) -> Author:
    return Author(run.ctx.name, run.ctx.researcher_id)


POST = Tool(run=_post, about=lambda given: f"[{given.kind}] {given.title}")
COMMENT = Tool(run=_comment, about=lambda given: f"on #{given.post}")
VOTE = Tool(run=_vote, about=lambda given: f"{given.value:+d} on #{given.post}")
EDIT_POST = Tool(run=_edit_post, about=lambda given: f"#{given.post}" + (" retracted" if given.retract else ""))
CLAIM = Tool(run=_claim, about=lambda given: given.topic or f"release {given.release}")
