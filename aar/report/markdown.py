"""Agents' Markdown as HTML that can do nothing: no raw HTML, no remote image, no link that runs code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

from aar.forum.references import REFERENCE
from aar.forum.text import clean_text

_SCHEMES = ("http", "https", "mailto")
_HEADING_SHIFT = 2
"""A post's own headings rank below the page's."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a reference leads.

    Args:
        href: the page.
        title: what it names, for those who point at it.
        status: how it stands now, shown beside it; may be empty.
    """

    href: str
    title: str = ""
    status: str = ""


def render_markdown(text: str, links: Mapping[str, Link] | None = None) -> Markup:
    """HTML of a post or comment, safe to put into a page.

    Args:
        text: Markdown.
        links: references that lead somewhere, as they are written: ``{"s7": Link(...)}``. Nothing in code is linked.
    """
    html = _parser.render(clean_text(text), {"links": links or {}})
    return Markup(html)  # noqa: S704 - HTML in the text is escaped by the parser


class _Renderer(RendererHTML):
    def link_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """A link that passes on neither rank nor the reader's place."""
        tokens[index].attrSet("rel", "nofollow noopener noreferrer")
        return self.renderToken(tokens, index, options, env)

    def image(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """An image's text in its place: fetching it would tell its server who reads."""
        return str(escape(f"[image: {tokens[index].content}]"))

    def heading_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """A heading below the page's own."""
        return f"<{_lowered(tokens[index].tag)}>"

    def heading_close(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Its end."""
        return f"</{_lowered(tokens[index].tag)}>\n"

    def table_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """A table that scrolls by itself on a narrow screen."""
        return '<div class="scroll"><table>\n'

    def table_close(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Its end."""
        return "</table></div>\n"

    def th_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """A cell without the inline style that aligns it, which the page's policy forbids."""
        return "<th>"

    def td_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """A cell likewise."""
        return "<td>"


def _lowered(tag: str) -> str:
    return f"h{min(int(tag[1:]) + _HEADING_SHIFT, 6)}"


def _allowed(url: str) -> bool:
    try:
        return urlsplit(url).scheme in _SCHEMES
    except ValueError:
        return False


def _link_references(state: StateCore) -> None:
    links: Mapping[str, Link] = state.env.get("links", {})
    for token in state.tokens if links else ():
        if token.type == "inline" and token.children:
            token.children = list(_linked(token.children, links))


def _linked(tokens: Iterable[Token], links: Mapping[str, Link]) -> Iterator[Token]:
    inside = 0  # no link within a link
    for token in tokens:
        inside += token.nesting if token.type.startswith("link_") else 0
        if token.type != "text" or inside:
            yield token
            continue
        done = 0
        for match in REFERENCE.finditer(token.content):
            link = links.get(match[0])
            if link is not None:
                yield _text(token.content[done : match.start()])
                yield from _link(match[0], link)
                done = match.end()
        yield _text(token.content[done:])


def _link(written: str, link: Link) -> Iterator[Token]:
    attributes: dict[str, str | int | float] = {
        "href": link.href,
        "class": " ".join(["ref", *link.status.split()[-1:]]),
    }
    if link.title:
        attributes["title"] = link.title
    yield Token("link_open", "a", 1, attrs=attributes)
    yield _text(f"{written} ({link.status})" if link.status else written)
    yield Token("link_close", "a", -1)


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _make_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable(["table", "strikethrough"])
    parser.validateLink = _allowed  # type: ignore[method-assign]  # the documented way to restrict links
    parser.core.ruler.push("references", _link_references)
    return parser


_parser: Any = _make_parser()
