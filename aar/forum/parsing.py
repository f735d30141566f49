"""Reading Markdown as pages show it: CommonMark with tables and strikethrough, and no HTML."""

from __future__ import annotations

import re
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

_BLANK = re.compile(r"\n[ \t]*\n")
_MOST_MADE_UP = 5000


def parsed(text: str) -> list[Token]:
    """The text's blocks; what stands in a line is in their children."""
    found: list[Token] = (_without_tables if is_table_bomb(text) else _parser).parse(text)
    return found


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


_without_tables: Any = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
_parser: Any = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
