"""Parses agents' Markdown once: its references, its figures, and HTML that is safe in a page.

CommonMark with tables and strikethrough. No raw HTML, no links that run code, and no images but the forum's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.common.normalize_url import normalizeLink
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

from aar.text import clean_text

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
FIGURE_SCHEME = "figure:"
"""Figures are shown as ``![caption](figure:DIGEST)``, or with a file's path until the file is stored."""
FIGURE_DIGITS = 12
"""Digits that identify a figure, unique within a campaign."""

_SIGNS = {
    "submission": re.compile(r"s[1-9]"),
    "post": re.compile(r"#[1-9]"),
    "researcher": re.compile(r"@[a-z]"),
    "snapshot": re.compile(r"[0-9a-f]{12}"),
}
"""Signs of a text with references: fast to find, while ``REFERENCE`` tests every character."""
_MAYBE_CODE = re.compile(r"`|~~~|\t|    ")
_FIGURE = re.compile(r"figure:([0-9a-f]{12,64})")
_IMAGE = re.compile(
    r"(?P<before>!\[(?:[^\[\]]|\[[^\[\]]{0,300}\]){0,500}\]\()\s*"
    r"(?:<(?P<bracketed>[^<>\n]+)>|(?P<plain>[^\s<>()]+(?:\([^\s<>()]*\)[^\s<>()]*)*))"
    r"(?P<title>\s+(?:\"[^\"\n]*\"|'[^'\n]*'))?\s*\)"
)
_NOT_A_PATH = re.compile(r"\A(?:[a-z][a-z0-9+.-]*:|//|#)", re.IGNORECASE)
_WEB_SCHEMES = ("http", "https", "mailto")
_HEADING_SHIFT = 2
"""A post's own headings rank below the page's."""
_BLANK = re.compile(r"\n[ \t]*\n")
_MAX_EMPTY_CELLS = 5000
_MAX_BRACKETS = 1000
"""The parser looks for the end of each bracket that could begin a link. 20,000 brackets would take most of a second."""


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


class Document:
    """A text in Markdown. It is parsed when that is needed first: a parse takes milliseconds."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def tokens(self) -> Sequence[Token]:
        """Return the blocks; inline content is in their children."""
        parsed: Sequence[Token] = _parser(disabled_rules(self.text)).parse(self.text)
        return parsed

    @cached_property
    def prose(self) -> str:
        """Return the text without its code: spans, fences and indented blocks."""
        if not _MAYBE_CODE.search(self.text):
            return self.text
        return "\n\n".join("".join(map(_prose, each.children or ())) for each in self.tokens if each.type == "inline")

    @cached_property
    def references(self) -> Mapping[str, Sequence[str]]:
        """Return the references in prose by kind (a group of ``REFERENCE``), in order, each once."""
        found: dict[str, dict[str, None]] = {kind: {} for kind in REFERENCE.groupindex}
        if any(sign.search(self.text) for sign in _SIGNS.values()) and REFERENCE.search(self.text):
            for each in REFERENCE.finditer(self.prose):
                kind = each.lastgroup or ""
                found[kind][each[kind]] = None
        return {kind: tuple(names) for kind, names in found.items()}

    @cached_property
    def figures(self) -> Sequence[str]:
        """Return the digits of the figures that it shows, in order, each once."""
        if FIGURE_SCHEME not in self.text:
            return ()
        return tuple(dict.fromkeys(match[1] for each in self._images() if (match := _FIGURE.fullmatch(each))))

    @cached_property
    def image_paths(self) -> Sequence[str]:
        """Return the file paths of its images, in order, each once."""
        if "![" not in self.text:
            return ()
        return tuple(dict.fromkeys(each for each in self._images() if each and not _NOT_A_PATH.match(each)))

    def html(self, links: Mapping[str, ReferenceLink]) -> Markup:
        """Render it with references that lead somewhere."""
        parser = _parser(())
        return Markup(parser.renderer.render(_linked_blocks(self.tokens, links), parser.options, {}))  # noqa: S704 - the parser escapes HTML

    def _images(self) -> Iterator[str]:
        """Yield the images' addresses without percent encoding, as their author wrote them."""
        for block in self.tokens:
            for token in block.children or ():
                if token.type == "image":
                    yield unquote(str(token.attrs.get("src", "")))


@lru_cache(maxsize=16)  # a parsed text takes up to 9 MB
def parse_markdown(text: str) -> Document:
    """Return a text as a document; the newest are kept, because each write and page asks several things of a text."""
    return Document(text)


def find_references(kind: str, texts: Iterable[str]) -> list[str]:
    """Return the references of one kind in the texts, in order, each once."""
    maybe = filter(_SIGNS[kind].search, texts)  # most texts have none
    return list(dict.fromkeys(name for text in maybe for name in parse_markdown(text).references[kind]))


def shown_figures(texts: Iterable[str]) -> list[str]:
    """Return the digits of the figures in the texts, in order, each once."""
    return list(dict.fromkeys(digits for text in texts for digits in parse_markdown(text).figures))


def replace_image_addresses(text: str, addresses: Mapping[str, str]) -> str:
    """Replace the addresses of images in the text; captions and titles stay."""

    def one(match: re.Match[str]) -> str:
        new = addresses.get(unquote(normalizeLink(match["bracketed"] or match["plain"])))
        return match[0] if new is None else f"{match['before']}{new}{match['title'] or ''})"

    return _IMAGE.sub(one, text) if addresses else text


def render_markdown(text: str, links: Mapping[str, ReferenceLink] | None = None) -> Markup:
    """Render a post or comment as HTML that is safe in a page.

    Args:
        text: Markdown.
        links: references that lead somewhere, as they are written: ``{"s7": ReferenceLink(...)}``. Nothing in code is
            linked. What is named ``figure:`` and digits is an image of the forum, and shown; other images are words.
    """
    return _rendered(text, tuple((links or {}).items()))


@lru_cache(maxsize=256)
def _rendered(text: str, links: tuple[tuple[str, ReferenceLink], ...]) -> Markup:
    """Render with a cache: live pages show the same texts again and again."""
    return parse_markdown(clean_text(text)).html(dict(links))


def disabled_rules(text: str) -> tuple[str, ...]:
    """Return the parser rules that are off for an expensive text.

    These are tables or links, if they would take long to parse.
    """
    tables = ("table",) if _is_table_bomb(text) else ()
    return (*tables, "link", "image", "reference") if text.count("[") > _MAX_BRACKETS else tables


def _is_table_bomb(text: str) -> bool:
    """Return whether its tables would consist mostly of empty cells.

    Rows of a Markdown table may omit cells. 20,000 characters can describe 65,000 of them, which take a second of work
    and 700 KB of HTML each time the text is shown. Such a text is shown without tables.
    """
    if "|" not in text:
        return False
    for block in _BLANK.split(text):
        pipes = [line.count("|") for line in block.split("\n")]
        if len(pipes) * (max(pipes) + 1) - sum(pipes) > _MAX_EMPTY_CELLS:
            return True
    return False


@cache
def _parser(without: tuple[str, ...]) -> Any:
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable(["table", "strikethrough"])
    return parser.disable(list(without))  # it accepts more addresses than a page does, because figures have paths


def _prose(token: Token) -> str:
    if token.type.endswith("break"):
        return "\n"
    return " " if token.type in ("code_inline", "image") else token.content


class _Renderer(RendererHTML):
    def image(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Render the forum's own figure; replace other images by their text.

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
        """Render a heading one level below the page's own."""
        return f"<{_lowered(tokens[index].tag)}>"

    def heading_close(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Render the end of a heading."""
        return f"</{_lowered(tokens[index].tag)}>\n"

    def table_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Render a table that scrolls by itself on a narrow screen."""
        return '<div class="scroll"><table>\n'

    def table_close(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Render the end of a table."""
        return "</table></div>\n"

    def th_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Render a header cell without the inline style that the page's policy forbids."""
        return "<th>"

    def td_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Render a cell without the inline style that the page's policy forbids."""
        return "<td>"


def _lowered(tag: str) -> str:
    return f"h{min(int(tag[1:]) + _HEADING_SHIFT, 6)}"


def _linked_blocks(blocks: Sequence[Token], links: Mapping[str, ReferenceLink]) -> list[Token]:
    """Return the blocks with their links resolved; the parsed ones stay as they are."""
    linked = list(blocks)
    for index, block in enumerate(blocks):
        if block.type != "inline":
            continue
        children = list(_linked_text(_linked_inline(block.children or (), links), links))
        paragraph = blocks[index - 1].type == "paragraph_open"
        if paragraph and FIGURE_SCHEME in block.content and all(map(_is_figure_or_space, children)):
            for beside in (index - 1, index + 1):  # a paragraph cannot hold <figure>
                linked[beside] = blocks[beside].copy(hidden=True)
            children = [each.copy(meta=each.meta | {"alone": True}) for each in children if each.type == "image"]
        linked[index] = block.copy(children=children)
    return linked


def _linked_inline(tokens: Iterable[Token], links: Mapping[str, ReferenceLink]) -> Iterator[Token]:
    """Yield inline content with the links and images that a page may have; others are text, as written."""
    ends: list[Sequence[Token] | None] = []  # what stands for the ends of open links; None for a link that leads on
    for token in tokens:
        address = str(token.attrs.get("src" if token.type == "image" else "href", ""))
        if token.type == "image":
            if not address or _may_be_shown(address):
                yield token.copy(meta={"figure": links.get(address)})
            else:
                yield _text(f"![{token.content}]({unquote(address)})")
        elif token.type == "link_open":
            known = links.get(address) if address.startswith(FIGURE_SCHEME) else None
            if known is None and (not address or _FIGURE.fullmatch(address)):
                ends.append(())
            elif not _may_be_shown(address):
                before, after = ("<", ">") if token.markup == "autolink" else ("[", f"]({unquote(address)})")
                yield _text(before)
                ends.append((_text(after),))
            else:
                ends.append(None)
                attributes = token.attrs | {"href": address if known is None else known.href}
                yield token.copy(attrs=attributes | {"rel": "nofollow noopener noreferrer"})
        elif token.type == "link_close":
            end = ends.pop()
            yield from (token,) if end is None else end
        else:
            yield token


def _may_be_shown(address: str) -> bool:
    try:
        return urlsplit(address).scheme in _WEB_SCHEMES or _FIGURE.fullmatch(address) is not None
    except ValueError:
        return False


def _is_figure_or_space(token: Token) -> bool:
    if token.type == "image":
        return token.meta.get("figure") is not None
    return token.type.endswith("break") or (token.type == "text" and not token.content.strip())


def _linked_text(tokens: Iterable[Token], links: Mapping[str, ReferenceLink]) -> Iterator[Token]:
    """Yield inline content with the references in its text as links."""
    inside = 0  # no link within a link
    for token in tokens:
        inside += token.nesting if token.type.startswith("link_") else 0
        if token.type != "text" or inside or not links:
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
    yield Token("link_open", "a", 1, attrs=attributes | {"rel": "nofollow noopener noreferrer"})
    yield _text(f"{written} ({link.status})" if link.status else written)
    yield Token("link_close", "a", -1)


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)
