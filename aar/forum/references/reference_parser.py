"""Parses references in a text: submissions (``s7``), posts (``#12``), snapshots (digests), researchers (``@r2``).

Code is ignored: spans, fences and indented blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from markdown_it.token import Token

from aar.forum.markdown_parser import parse_markdown

REFERENCE = re.compile(
    r"(?<![\w./#@-])(?:"
    r"s(?P<submission>[1-9]\d{0,5})"
    r"|\#(?P<post>[1-9]\d{0,9})"
    r"|@(?P<researcher>[a-z][a-z0-9_]{0,30})"
    r"|(?P<snapshot>[0-9a-f]{12,64})"
    r")(?![\w-]|\.\w)"
)
"""A reference in prose. Only the forum knows whether its target exists."""
EVERYBODY = "all"
"""``@all`` mentions every researcher; only people may use it."""

_SIGNS = {
    "submission": re.compile(r"s[1-9]"),
    "post": re.compile(r"#[1-9]"),
    "researcher": re.compile(r"@[a-z]"),
    "snapshot": re.compile(r"[0-9a-f]{12}"),
}
"""Signs of a text with references: fast to find, while ``REFERENCE`` tests every character."""
_MAYBE_CODE = re.compile(r"`|~~~|\t|    ")


def strip_code(text: str) -> str:
    """Return the text without its code; a text without code is returned unchanged."""
    if not _MAYBE_CODE.search(text):
        return text
    return "\n\n".join(_words(token.children or ()) for token in parse_markdown(text) if token.type == "inline")


def find_references(kind: str, texts: Iterable[str]) -> list[str]:
    """Return the references of one kind (a group of ``REFERENCE``), in order, each once."""
    found: dict[str, None] = {}
    for text in texts:
        # the cheap checks come first: most texts have no references, and parsing costs a millisecond each
        if _SIGNS[kind].search(text) and REFERENCE.search(text):
            found |= dict.fromkeys(each[kind] for each in REFERENCE.finditer(strip_code(text)) if each[kind])
    return list(found)


def _words(tokens: Iterable[Token]) -> str:
    return "".join("\n" if token.type.endswith("break") else _word(token) for token in tokens)


def _word(token: Token) -> str:
    if token.type in ("code_inline", "image"):
        return " "
    return token.content
