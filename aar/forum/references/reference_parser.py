"""What a text points to: submissions (``s7``), posts (``#12``), snapshots (digests) and researchers (``@r2``).

Nothing in code counts, be it a span, a fence or an indented block.
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
"""A reference as it stands in prose; whether it names anything, the forum knows."""
EVERYBODY = "all"
"""``@all`` speaks to every researcher; only people may say it."""

_SIGNS = {
    "submission": re.compile(r"s[1-9]"),
    "post": re.compile(r"#[1-9]"),
    "researcher": re.compile(r"@[a-z]"),
    "snapshot": re.compile(r"[0-9a-f]{12}"),
}
"""What a text that refers to something holds: quick to look for, where ``REFERENCE`` weighs every character."""
_MAYBE_CODE = re.compile(r"`|~~~|\t|    ")


def strip_code(text: str) -> str:
    """The text without its code; one without any comes back as it is."""
    if not _MAYBE_CODE.search(text):
        return text
    return "\n\n".join(_words(token.children or ()) for token in parse_markdown(text) if token.type == "inline")


def find_references(kind: str, texts: Iterable[str]) -> list[str]:
    """What the texts refer to of one kind (a group of ``REFERENCE``), in order and each once."""
    found: dict[str, None] = {}
    for text in texts:
        # the cheap looks come first: most texts name nothing, and parsing them would cost a millisecond each
        if _SIGNS[kind].search(text) and REFERENCE.search(text):
            found |= dict.fromkeys(each[kind] for each in REFERENCE.finditer(strip_code(text)) if each[kind])
    return list(found)


def _words(tokens: Iterable[Token]) -> str:
    return "".join("\n" if token.type.endswith("break") else _word(token) for token in tokens)


def _word(token: Token) -> str:
    if token.type in ("code_inline", "image"):
        return " "
    return token.content
