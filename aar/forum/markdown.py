"""Parses agents' Markdown: its references, its figures, and safe HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.common.normalize_url import normalizeLink
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

from aar.text import clean_text

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
    return Markup(_html_parser(disabled_rules(cleaned)).render(cleaned, {"links": dict(links)}))  # noqa: S704 - HTML in it is escaped by the parser


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
def _html_parser(without: tuple[str, ...]) -> Any:
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable(["table", "strikethrough"])
    parser.disable(list(without))
    parser.validateLink = _allowed  # type: ignore[method-assign]  # the documented way to restrict links
    parser.core.ruler.push("figures", _show_figures)
    parser.core.ruler.push("references", _link_references)
    return parser
