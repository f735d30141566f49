"""``post``, ``comment``, ``vote``, ``edit_post``, ``claim``: tools that write to the forum.

Its files are in /forum. ``edit_post`` and ``claim`` serve external researchers too.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from aar.errors import TransferRefused, UsageError
from aar.forum import claims
from aar.forum.authors import Author, was_already_written
from aar.forum.claims import active_claims
from aar.forum.edits import edit_comment, edit_post, retract
from aar.forum.figures import MAX_FIGURE_BYTES, MAX_FIGURES, NewFigure, inspect_figure
from aar.forum.markdown import FIGURE_DIGITS, FIGURE_SCHEME, parse_markdown
from aar.forum.posts import cast_vote, create_comment, create_post
from aar.forum.search import duplicate_warning, similar_to_post
from aar.forum.views import ClaimView
from aar.researcher.tools.definitions import (
    ClaimInput,
    CommentInput,
    EditPostInput,
    PostInput,
    ToolResult,
    ToolRun,
    VoteInput,
)
from aar.sandbox.protocol import WORKSPACE, Sandbox
from aar.store.models import Comment, Post
from aar.text import clean_text, parse_submission_number

_SECONDS = 30


async def post_tool(run: ToolRun, args: PostInput) -> ToolResult:
    """Publish a post with its figures."""
    ctx = run.ctx
    number = None if args.submission is None else parse_submission_number(args.submission)
    figures = await read_figures(run, _author(run), args.body, Post)
    post = await ctx.db.write(
        lambda session: create_post(
            session,
            ctx.campaign_id,
            _author(run),
            kind=args.kind,
            title=args.title,
            body=args.body,
            submission_number=number,
            families=args.families,
            idempotency_key=run.key,
            figures=figures,
        )
    )
    similar = await ctx.db.read(lambda session: similar_to_post(session, ctx.campaign_id, post.id))
    return ToolResult(
        "\n".join(filter(None, [f"Post #{post.id} created.", *describe_figures(figures), duplicate_warning(similar)]))
    )


async def comment_tool(run: ToolRun, args: CommentInput) -> ToolResult:
    """Publish a comment with its figures."""
    ctx, author = run.ctx, _author(run)
    figures = await read_figures(run, author, args.body, Comment)
    await ctx.db.write(
        lambda session: create_comment(
            session, ctx.campaign_id, author, args.post, args.body, idempotency_key=run.key, figures=figures
        )
    )
    return ToolResult("\n".join([f"Comment on #{args.post} created.", *describe_figures(figures)]))


async def vote_tool(run: ToolRun, args: VoteInput) -> ToolResult:
    """Vote on a post."""
    ctx = run.ctx
    post = await ctx.db.write(lambda session: cast_vote(session, ctx.campaign_id, _author(run), args.post, args.value))
    return ToolResult(f"Vote on #{args.post} noted; it stands at {post.score:+d}.")


async def edit_post_tool(run: ToolRun, args: EditPostInput) -> ToolResult:
    """Edit or retract a text."""
    ctx, author = run.ctx, _author(run)
    figures = await read_figures(run, author, args.body)
    change = await ctx.db.write(lambda session: edit_or_retract(session, ctx.campaign_id, author, args, figures))
    return ToolResult("\n".join([change, *describe_figures(figures)]))


async def claim_tool(run: ToolRun, args: ClaimInput) -> ToolResult:
    """Claim a topic, or end a claim."""
    ctx = run.ctx
    change = await ctx.db.write(lambda session: claim_or_release(session, ctx.campaign_id, _author(run), args))
    if args.topic is None:
        return ToolResult(f"Claim {change.id} ended.")
    active = await ctx.db.read(lambda session: active_claims(session, ctx.campaign_id))
    lines = [
        f"{each.author} until {each.expires_at:%H:%M} UTC: {each.topic}" for each in active if each.id != change.id
    ]
    others = ["Other claims:", *lines] if lines else []
    return ToolResult("\n".join([f"Claim {change.id} holds until {change.expires_at:%H:%M} UTC.", *others]))


def _author(run: ToolRun) -> Author:
    return Author(run.ctx.name, run.ctx.researcher_id)


def edit_or_retract(
    session: Session,
    campaign_id: str,
    author: Author,
    args: EditPostInput,
    figures: Mapping[str, NewFigure] | None = None,
) -> str:
    """Edit or retract a text of the author.

    Return a line about it. It may add figures, like ``edit_post``.

    Raises:
        NotFound, Forbidden: as ``edit_post``.
        UsageError: neither a new text nor a reason, or both, or a text that is too long.
    """
    what = f"Post #{args.post}" if args.comment is None else f"Comment {args.comment} on #{args.post}"
    if (args.retract is None) == (args.title is None and args.body is None and args.families is None):
        raise UsageError(
            "an edit needs either something new or a reason to retract", "Give body, title or families, or retract"
        )
    if args.retract is not None:
        retract(session, campaign_id, author, args.post, args.retract, comment_id=args.comment)
        return f"{what} retracted."
    if args.comment is None:
        edit_post(
            session,
            campaign_id,
            author,
            args.post,
            title=args.title,
            body=args.body,
            families=args.families,
            figures=figures,
        )
    elif args.body is None or args.title is not None or args.families is not None:
        raise UsageError("a comment has a text, no title and no families", "Give body alone")
    else:
        edit_comment(session, campaign_id, author, args.post, args.comment, args.body, figures)
    return f"{what} edited."


def claim_or_release(session: Session, campaign_id: str, author: Author, args: ClaimInput) -> ClaimView:
    """Claim a topic for the author, change the claim's end, or end it.

    Raises:
        NotFound, Forbidden, Conflict: as ``claim_topic`` and ``release_topic``.
        UsageError: neither a topic nor a claim to release, or both.
    """
    if args.topic is not None and args.release is None:
        return claims.claim_topic(session, campaign_id, author, args.topic, args.hours)
    if args.topic is None and args.release is not None:
        return claims.release_topic(session, campaign_id, author, args.release)
    raise UsageError("claim needs either a topic or the number of a claim to release", "Give topic or release")


async def read_figures(
    run: ToolRun, author: Author, text: str | None, what: type[Post] | type[Comment] | None = None
) -> dict[str, NewFigure]:
    """Read the figures of a text, by their paths in it.

    Args:
        run: of the tool.
        author: of the text.
        text: Markdown as received.
        what: the table with the result of an earlier run of this very call, if any: then no file is needed again.

    Raises:
        UsageError: a file does not exist, is outside of the workspace, too large, or no image; it is named.
        SandboxGone: the sandbox ended meanwhile.
    """
    paths = parse_markdown(clean_text(text or "")).image_paths
    if not paths:
        return {}
    if run.repeated and what is not None:
        ctx = run.ctx
        if await ctx.db.read(lambda session: was_already_written(session, what, ctx.campaign_id, author, run.key)):
            return {}
    if len(paths) > MAX_FIGURES:
        raise UsageError(
            f"too many figures in the text: got {len(paths)}, expected at most {MAX_FIGURES}; nothing was posted",
            "Split it over several posts or comments",
        )
    sandbox = await run.ctx.sandbox.current()
    places = await _places(sandbox, paths)
    return {
        path: inspect_figure(path, await _read(sandbox, path, place)) for path, place in zip(paths, places, strict=True)
    }


def describe_figures(figures: dict[str, NewFigure]) -> list[str]:
    """Return lines with the Markdown that shows the figures again."""
    return [f"{path} is {FIGURE_SCHEME}{each.digest[:FIGURE_DIGITS]}" for path, each in figures.items()]


async def _places(sandbox: Sandbox, paths: Sequence[str]) -> list[str]:
    """Return the paths of files after links.

    Raises UsageError for one outside of the workspace.
    """
    for path in paths:
        if not path.isprintable():
            raise _refused(path, "is not a valid file name")
    full = [posixpath.join(WORKSPACE, path) for path in paths]
    result = await sandbox.exec(["realpath", "-mz", "--", *full], timeout=_SECONDS)
    places = result.output.split("\0")[:-1]
    if not result.ok or len(places) != len(paths):
        raise _refused(paths[0], "cannot be found")
    for path, place in zip(paths, places, strict=True):
        if not place.startswith(WORKSPACE + "/"):
            raise _refused(path, "is outside of the workspace")
    return places


async def _read(sandbox: Sandbox, path: str, place: str) -> bytes:
    try:
        return await sandbox.read(place, limit=MAX_FIGURE_BYTES)
    except FileNotFoundError as error:
        raise _refused(path, "does not exist") from error
    except IsADirectoryError as error:
        raise _refused(path, "is a directory") from error
    except OSError as error:
        raise _refused(path, "cannot be read") from error
    except TransferRefused as error:
        raise _refused(path, f"cannot be used: {error.message}") from error


def _refused(path: str, why: str) -> UsageError:
    return UsageError(
        f"figure {path[:200]!r} {why}; nothing was posted",
        "Save an image in the workspace and show it as ![caption](plots/loss.png); a figure of the forum is shown as "
        "![caption](figure:DIGEST)",
    )
