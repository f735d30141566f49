"""What commands that write to the forum take: a post, a text, a name."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

PostId = Annotated[str, typer.Argument(metavar="POST", help="Number of the post: `12` or `#12`.")]
Name = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Your name; default your login.")]
CommentId = Annotated[
    int | None, typer.Option("--comment", metavar="ID", min=1, help="A comment on the post instead of the post itself.")
]
Body = Annotated[
    str | None,
    typer.Argument(
        metavar="TEXT", help="Markdown; left out or `-`, it is read from standard input.", show_default=False
    ),
]


def number(given: str) -> int:
    """The number of a post as somebody writes it. Raises UsageError."""
    from aar.errors import UsageError

    digits = given.removeprefix("#")
    if not (digits.isascii() and digits.isdigit()):
        raise UsageError(f"{given!r} is no post's number", "Give one such as 12; see `aar forum list`")
    return int(digits[:19])


def text(body: str | None) -> str:
    """The text given, or else what standard input holds."""
    return sys.stdin.read() if body in (None, "-") else str(body)
