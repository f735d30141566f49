"""Renders agents' Markdown as safe HTML.

No raw HTML, no links that run code, and no images but the forum's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

from aar.forum.figures.figure_markdown import ADDRESS, SCHEME
from aar.forum.markdown_parser import disabled_rules
from aar.forum.references.reference_parser import REFERENCE
from aar.text.sanitize import clean_text

_SCHEMES = ("http", "https", "mailto")
_HEADING_SHIFT = 2
"""A post's own headings rank below the page's."""


@dataclass(frozen=True, slots=True)
class ReferenceLink:
    """The target of a reference.

    Args:
        href: the page.
        title: the tooltip.
        status: its current status, shown beside it; may be empty.
        size: of a figure, which is shown: width and height in pixels.
    """

    href: str
    title: str = ""
    status: str = ""
    size: tuple[int, int] | None = None


def render_markdown(text: str, links: Mapping[str, ReferenceLink] | None = None) -> Markup:
    """Renders a post or comment as HTML that is safe in a page.

    Args:
        text: Markdown.
        links: references that lead somewhere, as they are written: ``{"s7": Link(...)}``. Nothing in code is linked.
            What is named ``figure:`` and digits is an image of the forum, and shown; other images are words.
    """
    return _rendered(text, tuple((links or {}).items()))


@lru_cache(maxsize=256)
def _rendered(text: str, links: tuple[tuple[str, ReferenceLink], ...]) -> Markup:
    """Renders with a cache: live pages show the same texts again and again.

    Each rendering takes some milliseconds.
    """
    cleaned = clean_text(text)
    return Markup(_parser(disabled_rules(cleaned)).render(cleaned, {"links": dict(links)}))  # noqa: S704 - HTML in it is escaped by the parser


class _Renderer(RendererHTML):
    def link_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Renders a link with nofollow and without a referrer."""
        tokens[index].attrSet("rel", "nofollow noopener noreferrer")
        return self.renderToken(tokens, index, options, env)

    def image(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Renders the forum's own figure; replaces other images by their text.

        Loading a foreign image would reveal the reader to its server.
        """
        token = tokens[index]
        link: ReferenceLink | None = token.meta.get("figure")
        if link is None or link.size is None:
            return str(escape(f"[image: {token.content}]"))
        caption = self.renderInlineAsText(token.children, options, env).strip()
        width, height = link.size
        image = Markup('<img src="{}" alt="{}" loading="lazy" width="{}" height="{}">').format(
            link.href, caption or "figure", width, height
        )
        if not token.meta.get("alone"):
            return image
        below = Markup("<figcaption>{}</figcaption>").format(caption) if caption else ""
        return Markup('<figure><a href="{}">{}</a>{}</figure>\n').format(link.href, image, below)

    def heading_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Renders a heading one level below the page's own."""
        return f"<{_lowered(tokens[index].tag)}>"

    def heading_close(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Renders the end of a heading."""
        return f"</{_lowered(tokens[index].tag)}>\n"

    def table_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Renders a table that scrolls by itself on a narrow screen."""
        return '<div class="scroll"><table>\n'

    def table_close(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Renders the end of a table."""
        return "</table></div>\n"

    def th_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Renders a header cell without the inline style that the page's policy forbids."""
        return "<th>"

    def td_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Renders a cell without the inline style that the page's policy forbids."""
        return "<td>"


def _lowered(tag: str) -> str:
    return f"h{min(int(tag[1:]) + _HEADING_SHIFT, 6)}"


def _allowed(url: str) -> bool:
    try:
        return urlsplit(url).scheme in _SCHEMES or ADDRESS.fullmatch(url) is not None
    except ValueError:
        return False


def _show_figures(state: StateCore) -> None:
    links: Mapping[str, ReferenceLink] = state.env.get("links", {})
    for index, token in enumerate(state.tokens):
        if token.type != "inline" or not token.children:
            continue
        token.children = list(_leading_somewhere(token.children, links))
        if SCHEME not in token.content:
            continue
        before, after = state.tokens[index - 1], state.tokens[index + 1]
        if before.type == "paragraph_open" and all(map(_is_figure_or_space, token.children)):
            before.hidden = after.hidden = True  # a paragraph cannot hold <figure>
            token.children = [each for each in token.children if each.type == "image"]
            for each in token.children:
                each.meta["alone"] = True


def _is_figure_or_space(token: Token) -> bool:
    return (
        "figure" in token.meta or token.type.endswith("break") or (token.type == "text" and not token.content.strip())
    )


def _leading_somewhere(tokens: Iterable[Token], links: Mapping[str, ReferenceLink]) -> Iterator[Token]:
    nowhere = False  # within a link without a target, or to a figure that the campaign does not have
    for token in tokens:
        address = str(token.attrs.get("src" if token.type == "image" else "href", ""))
        link = links.get(address) if address.startswith(SCHEME) else None
        if token.type == "image" and link is not None:
            token.meta["figure"] = link
        elif token.type == "link_open" and (not address or address.startswith(SCHEME)):
            nowhere = link is None
            token.attrSet("href", "" if link is None else link.href)
        if not (nowhere and token.type.startswith("link_")):
            yield token
        nowhere = nowhere and token.type != "link_close"


def _link_references(state: StateCore) -> None:
    links: Mapping[str, ReferenceLink] = state.env.get("links", {})
    for token in state.tokens if links else ():
        if token.type == "inline" and token.children:
            token.children = list(_linked(token.children, links))


def _linked(tokens: Iterable[Token], links: Mapping[str, ReferenceLink]) -> Iterator[Token]:
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


def _link(written: str, link: ReferenceLink) -> Iterator[Token]:
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


@cache
def _parser(without: tuple[str, ...]) -> Any:
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable(["table", "strikethrough"])
    parser.disable(list(without))
    parser.validateLink = _allowed  # type: ignore[method-assign]  # the documented way to restrict links
    parser.core.ruler.push("figures", _show_figures)
    parser.core.ruler.push("references", _link_references)
    return parser
