"""Arguments and options of commands that write to the forum."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from aar.cli.options import MAX_INTEGER
from aar.errors import UsageError
from aar.forum.figures.figure_markdown import SHORT, shown_paths
from aar.forum.figures.figure_store import NewFigure, inspect_figure
from aar.forum.text_limits import MAX_FIGURE_BYTES

PostId = Annotated[str, typer.Argument(metavar="POST", help="Number of the post: `12` or `#12`.")]
Name = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Your name; default your login.")]
CommentId = Annotated[
    int | None,
    typer.Option(
        "--comment", metavar="ID", min=1, max=MAX_INTEGER, help="A comment on the post instead of the post itself."
    ),
]
Body = Annotated[
    str | None,
    typer.Argument(metavar="TEXT", help="Markdown; default or `-`: read from standard input.", show_default=False),
]
Families = Annotated[
    list[str] | None,
    typer.Option(
        "--family",
        metavar="FAMILY",
        help="Family of the idea, such as ensemble; may be given three times.",
        show_default=False,
    ),
]
OneFamily = Annotated[
    str | None, typer.Option("--family", metavar="FAMILY", help="Only posts labelled with it, such as ensemble.")
]
Figures = Annotated[
    list[Path] | None,
    typer.Option(
        "--figure",
        metavar="FILE",
        help="An image to show; where the text has ![..](FILE), else at its end. May be given several times.",
        show_default=False,
    ),
]


def parse_post_number(given: str) -> int:
    """Return the number of a post from ``12`` or ``#12``.

    Raises UsageError.
    """
    digits = given.removeprefix("#")
    if not (digits.isascii() and digits.isdigit()):
        raise UsageError(f"post number is not valid: got {given!r}, expected 12 or #12", "See `aar forum list`")
    return int(digits[:19])


def read_text(body: str | None) -> str:
    """Return the given text, or read it from standard input."""
    return sys.stdin.read() if body in (None, "-") else str(body)


def attach_figures(said: str, files: list[Path] | None) -> tuple[str, dict[str, NewFigure]]:
    """Return the text with every file shown in it, and the figures by path.

    The paths are those that the text uses.

    Raises:
        UsageError: a file cannot be read, is too large, or is not an image; the message names it.
    """
    figures: dict[str, NewFigure] = {}
    for file in files or ():
        path, figure = str(file), inspect_figure(str(file), _content(file))
        if path not in shown_paths(said):
            path = f"attached-{figure.digest[:SHORT]}"
            said = f"{said.rstrip()}\n\n![{_caption(file)}]({path})\n"
        figures[path] = figure
    return said, figures


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_FIGURE_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"figure cannot be read: got {str(file)!r}, {error.strerror or error}", "Name an image file"
        ) from error


def _caption(file: Path) -> str:
    return "".join(" " if sign in "[]\\`" else sign for sign in file.stem)
