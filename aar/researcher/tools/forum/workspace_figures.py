"""Reads the figures of a researcher's text from its workspace, before anything is posted."""

from __future__ import annotations

import posixpath

from aar.errors import TransferRefused, UsageError
from aar.forum.authors import was_already_written
from aar.forum.figures.figure_markdown import SCHEME, SHORT, shown_paths
from aar.forum.figures.figure_store import NewFigure, inspect_figure
from aar.forum.posts import Author
from aar.forum.text_limits import MAX_FIGURE_BYTES, MAX_FIGURES
from aar.researcher.tools.tool import ToolRun
from aar.sandbox.protocol import WORKSPACE, Sandbox
from aar.store.models import Comment, Post
from aar.text.sanitize import clean_text

_SECONDS = 30


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
    paths = shown_paths(clean_text(text or ""))
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
    return [f"{path} is {SCHEME}{each.digest[:SHORT]}" for path, each in figures.items()]


async def _places(sandbox: Sandbox, paths: list[str]) -> list[str]:
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
