"""Parses Markdown as pages show it: CommonMark with tables and strikethrough, without HTML."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

_BLANK = re.compile(r"\n[ \t]*\n")
_MOST_MADE_UP = 5000
_MOST_BRACKETS = 1000
"""The parser looks for the end of each bracket that could begin a link. 20,000 brackets would take most of a second."""


def parse_markdown(text: str) -> list[Token]:
    """Return the blocks of a text; inline content is in their children."""
    found: list[Token] = _parser(disabled_rules(text)).parse(text)
    return found


def disabled_rules(text: str) -> tuple[str, ...]:
    """Return the parser rules that are off for an expensive text.

    These are tables or links, if they would take long to parse.
    """
    tables = ("table",) if is_table_bomb(text) else ()
    return (*tables, "link", "image", "reference") if text.count("[") > _MOST_BRACKETS else tables


def is_table_bomb(text: str) -> bool:
    """Return whether its tables would consist mostly of empty cells.

    Rows of a Markdown table may omit cells. 20,000 characters can describe 65,000 of them, which take a second of work
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
