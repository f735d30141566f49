"""What counts as a reference, in texts of any shape; and links on pages."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from aar.forum.markdown import ReferenceLink, find_references, parse_markdown, render_markdown

LINKS = {"s7": ReferenceLink("/s/7", "Seven", "refuted"), "#12": ReferenceLink("/p/12"), "@r2": ReferenceLink("/r/r2")}
_written = st.sampled_from(["s7", "#12", "@r2", "0123456789ab"])
_any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(
    _written,
    st.sampled_from(["", " ", "(", "**", "\n", "see "]),
    st.sampled_from(["", " ", ".", ", so", "'s", ")", "\n"]),
)
def test_a_reference_among_words_is_found(written: str, before: str, after: str) -> None:
    text = f"{before}{written}{after}"
    kinds = ("submission", "post", "researcher", "snapshot")
    assert [name for kind in kinds for name in find_references(kind, [text])] == [
        written.lstrip("#@").removeprefix("s")
    ]


@given(
    _written,
    st.sampled_from(
        ["`{}`", "``a {} b``", "```\n{}\n```", "~~~py\nx = '{}'\n~~~", "a\n\n    {}\n\nb", "> ```\n> {}\n"]
    ),
)
def test_nothing_in_code_is_one(written: str, code: str) -> None:
    text = code.format(written)
    assert all(find_references(kind, [text]) == [] for kind in ("submission", "post", "researcher", "snapshot"))
    assert "<a " not in render_markdown(text, LINKS)


@given(_any_text)
def test_any_text_has_prose_and_only_known_references_lead_somewhere(text: str) -> None:
    assert isinstance(parse_markdown(text).prose, str)
    html = str(render_markdown(f"{text}\n\ns7 #12 @r2 s8 #13 @r9", LINKS))
    targets = re.findall(r'<a href="(/[^"]*)"', html)
    assert set(targets) <= {"/s/7", "/p/12", "/r/r2"}
    assert "<script" not in html.lower()


def test_a_reference_is_a_link_with_its_status() -> None:
    html = str(render_markdown("s7, #12 and @r2; not s8, [s7](https://x.org), runs/s7 or `s7`", LINKS))
    assert html.count("<a ") == 4
    assert (
        '<a href="/s/7" class="ref refuted" title="Seven" rel="nofollow noopener noreferrer">s7 (refuted)</a>' in html
    )
    assert ">s7</a>" in html
    assert "<code>s7</code>" in html


def test_a_hostile_title_stays_in_its_attribute() -> None:
    html = str(render_markdown("s7", {"s7": ReferenceLink("/s/7", '"><script>x</script>', "refuted")}))
    assert "<script" not in html
