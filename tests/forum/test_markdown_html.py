"""Agents' Markdown: rendered where it is text, inert where it is anything else."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.forum.markdown import ReferenceLink, render_markdown

_TAGS = {
    "p", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "a", "ul", "ol", "li", "blockquote", "hr", "br",
    "div", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip


class Check(HTMLParser):
    """Fails at any element or attribute that Markdown alone does not make."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _TAGS
        for name, value in attrs:
            assert name in ("href", "title", "rel", "class", "start")
            if name == "href":
                assert (value or "").split(":")[0].lower() in ("http", "https", "mailto")


@given(
    st.text(st.sampled_from("<>\"'`*_[]()!#|-~&;:/\\ \n\tabjscriptonerror=") | st.characters(exclude_categories=["Cs"]))
)
def test_no_text_makes_anything_but_text(text: str) -> None:
    html = render_markdown(text)
    Check().feed(html)
    assert html.count("<a ") == html.count("</a>")


@pytest.mark.parametrize(
    "text",
    [
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](data:text/html,hi)",
        "[x](/api/v1/campaigns)",
        "[x](//evil.example)",
        "<javascript:alert(1)>",
        "[x][1]\n\n[1]: vbscript:msgbox",
        "[x]()",
    ],
)
def test_no_link_leads_anywhere_but_the_web(text: str) -> None:
    assert "href" not in render_markdown(text)


def test_a_link_within_what_is_no_link_is_one() -> None:
    html = render_markdown("[a <https://a.b> c](/x)")
    assert html == ('<p>[a <a href="https://a.b" rel="nofollow noopener noreferrer">https://a.b</a> c](/x)</p>\n')


def test_links_pass_nothing_on() -> None:
    assert 'rel="nofollow noopener noreferrer"' in render_markdown("[x](https://example.org)")
    assert 'rel="nofollow noopener noreferrer"' in render_markdown("<https://example.org>")


def test_images_stay_where_they_are() -> None:
    assert render_markdown("![a <b>](http://evil.example/p.png)") == "<p>[image: a &lt;b&gt;]</p>\n"


KNOWN = {"figure:0123456789ab": ReferenceLink("/f/0123", size=(40, 30))}


PARTS = [*"<>\"'`*_[]()!#|-~&;:/\\ \n\t", "![a](figure:0123456789ab)", "figure:0123456789ab", "](", "[x](", "![", "s7"]


@given(st.lists(st.sampled_from(PARTS), max_size=40).map("".join))
def test_no_text_makes_more_of_a_figure_than_a_figure(text: str) -> None:
    class WithFigures(Check):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            if tag == "img":
                assert (given.pop("src"), given.pop("width"), given.pop("height")) == ("/f/0123", "40", "30")
                assert given.pop("loading") == "lazy"
                assert given.pop("alt")
                assert not given
            elif tag == "a" and given["href"] == "/f/0123":
                assert set(given) <= {"href", "rel", "title"}
            elif tag not in ("figure", "figcaption"):
                super().handle_starttag(tag, attrs)

    WithFigures().feed(render_markdown(text, KNOWN))


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (
            "![*b* <i>](figure:0123456789ab)",
            '<figure><a href="/f/0123"><img src="/f/0123" alt="b &lt;i&gt;" loading="lazy" width="40" height="30"></a>'
            "<figcaption>b &lt;i&gt;</figcaption></figure>\n",
        ),
        (
            "so ![](figure:0123456789ab)",
            '<p>so <img src="/f/0123" alt="figure" loading="lazy" width="40" height="30"></p>\n',
        ),
        ("![a](figure:ffffffffffff)", "<p>[image: a]</p>\n"),
        ("![a](figure:../x)", "<p>![a](figure:../x)</p>\n"),
        ("`![a](figure:0123456789ab)`", "<p><code>![a](figure:0123456789ab)</code></p>\n"),
        ("[a](figure:ffffffffffff) b", "<p>a b</p>\n"),
        ("![a](plots/a.png)", "<p>![a](plots/a.png)</p>\n"),
    ],
)
def test_a_figure_that_the_forum_has_is_shown_and_nothing_else(text: str, html: str) -> None:
    assert render_markdown(text, KNOWN) == html


def test_ordinary_markdown_reads_well() -> None:
    html = render_markdown("# A\n\n~~old~~ *new*\n\n| a | b |\n|:--|--:|\n| 1 | 2 |\n")
    for part in ("<h3>A</h3>", "<s>old</s>", "<em>new</em>", "<td>1</td>"):
        assert part in html
    assert "style=" not in html


def test_a_table_of_cells_that_nobody_wrote_is_no_table() -> None:
    bomb = "|" + "a|" * 2500 + "\n|" + "-|" * 2500 + "\n" + "a\n" * 4998
    html = render_markdown(bomb)
    assert "<table" not in html
    assert len(html) < 3 * len(bomb)
    wide = "\n".join("|" + cell * 40 for cell in ("a|", "-|", *["7|"] * 60))
    assert render_markdown(f"{wide}\n\nwords|\n" + "words\n" * 400).count("<td>") == 40 * 60
