"""The Markdown of figures: ``![caption](figure:DIGEST)``, or a file's path until the file is stored.

Code is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote

from markdown_it.common.normalize_url import normalizeLink
from markdown_it.token import Token

from aar.forum.markdown_parser import parse_markdown

SCHEME = "figure:"
SHORT = 12
"""Digits that identify a figure, unique within a campaign."""
ADDRESS = re.compile(r"figure:([0-9a-f]{12,64})")
_IMAGE = re.compile(
    r"(?P<before>!\[(?:[^\[\]]|\[[^\[\]]{0,300}\]){0,500}\]\()\s*"
    r"(?:<(?P<bracketed>[^<>\n]+)>|(?P<plain>[^\s<>()]+(?:\([^\s<>()]*\)[^\s<>()]*)*))"
    r"(?P<title>\s+(?:\"[^\"\n]*\"|'[^'\n]*'))?\s*\)"
)
_ELSEWHERE = re.compile(r"\A(?:[a-z][a-z0-9+.-]*:|//|#)", re.IGNORECASE)


def shown_figures(texts: Iterable[str]) -> list[str]:
    """Return the digits of the figures in the texts, in order, each once."""
    found: dict[str, None] = {}
    for text in texts:
        if SCHEME in text:  # parsing costs a millisecond
            found |= dict.fromkeys(
                match[1] for address in _addresses(text) if (match := ADDRESS.fullmatch(address)) is not None
            )
    return list(found)


def shown_paths(text: str) -> list[str]:
    """Return the file paths of the images in the text, in order, each once."""
    if "![" not in text:
        return []
    return list(dict.fromkeys(each for each in _addresses(text) if each and not _ELSEWHERE.match(each)))


def replace_image_addresses(text: str, addresses: Mapping[str, str]) -> str:
    """Replace the addresses of images in the text; captions and titles stay."""

    def one(match: re.Match[str]) -> str:
        new = addresses.get(_plain(normalizeLink(match["bracketed"] or match["plain"])))
        return match[0] if new is None else f"{match['before']}{new}{match['title'] or ''})"

    return _IMAGE.sub(one, text) if addresses else text


def _addresses(text: str) -> Iterator[str]:
    for block in parse_markdown(text):
        for token in block.children or ():
            if token.type == "image":
                yield _plain(_source(token))


def _source(token: Token) -> str:
    return str(token.attrs.get("src", ""))


def _plain(address: str) -> str:
    """Return an address without percent encoding, as its author wrote it."""
    return unquote(address)
