"""Agents' Markdown: rendered where it is text, inert where it is anything else."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.report.markdown import render_markdown

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
    Check().feed(render_markdown(text))


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
    ],
)
def test_no_link_leads_anywhere_but_the_web(text: str) -> None:
    assert "href" not in render_markdown(text)


def test_links_pass_nothing_on() -> None:
    assert 'rel="nofollow noopener noreferrer"' in render_markdown("[x](https://example.org)")
    assert 'rel="nofollow noopener noreferrer"' in render_markdown("<https://example.org>")


def test_images_stay_where_they_are() -> None:
    assert render_markdown("![a <b>](http://evil.example/p.png)") == "<p>[image: a &lt;b&gt;]</p>\n"


def test_ordinary_markdown_reads_well() -> None:
    html = render_markdown("# A\n\n~~old~~ *new*\n\n| a | b |\n|:--|--:|\n| 1 | 2 |\n")
    for part in ("<h3>A</h3>", "<s>old</s>", "<em>new</em>", "<td>1</td>"):
        assert part in html
    assert "style=" not in html
