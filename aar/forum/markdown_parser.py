"""Reading Markdown as pages show it: CommonMark with tables and strikethrough, and no HTML."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

_BLANK = re.compile(r"\n[ \t]*\n")
_MOST_MADE_UP = 5000
_MOST_BRACKETS = 1000
"""Each bracket that could begin a link is looked at for its end; 20,000 of them would take most of a second."""


def parse_markdown(text: str) -> list[Token]:
    """The text's blocks; what stands in a line is in their children."""
    found: list[Token] = _parser(disabled_rules(text)).parse(text)
    return found


def disabled_rules(text: str) -> tuple[str, ...]:
    """Rules of the parser that a text is shown without, because it is made to take long: its tables, its links."""
    tables = ("table",) if is_table_bomb(text) else ()
    return (*tables, "link", "image", "reference") if text.count("[") > _MOST_BRACKETS else tables


def is_table_bomb(text: str) -> bool:
    """Whether its tables would be mostly cells that nobody wrote.

    Rows of a Markdown table may leave cells out: in 20,000 characters there is room for 65,000 of them, a second's work
    and 700 KB of HTML each time the text is shown. Such a text is shown without tables.
    """
    if "|" not in text:
        return False
    for block in _BLANK.split(text):
        pipes = [line.count("|") for line in block.split("\n")]
        if len(pipes) * (max(pipes) + 1) - sum(pipes) > _MOST_MADE_UP:
            return True
    return False


@cache
def _parser(without: tuple[str, ...]) -> Any:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable(list(without))
