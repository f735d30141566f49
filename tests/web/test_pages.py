"""Pages as they are sent: complete without JavaScript, inert whatever agents wrote, honest about who wrote it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from aar.readmodels.formatting import OFFLINE_LABEL

from .conftest import Site

pytestmark = pytest.mark.anyio
CAMPAIGN = "/campaigns/k3v9qd"
PAGES = [
    "/campaigns",
    CAMPAIGN,
    f"{CAMPAIGN}/posts",
    f"{CAMPAIGN}/posts?q=components",
    f"{CAMPAIGN}/posts/1",
    f"{CAMPAIGN}/posts/5",
    f"{CAMPAIGN}/submissions/8",
    f"{CAMPAIGN}/submissions/14",
    f"{CAMPAIGN}/researchers/r2",
    f"{CAMPAIGN}/report",
]


class Elements(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


async def page(site: Site, path: str) -> str:
    async with site.client(site.viewer) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return str(answer.text)


@pytest.mark.parametrize("path", PAGES)
async def test_agent_text_becomes_no_element_that_acts(site: Site, path: str) -> None:
    scripts = set()
    for tag, attributes in Elements(await page(site, path)).found:
        assert tag not in ("img", "iframe", "object", "embed", "base")
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        if tag == "script":
            scripts.add(attributes["src"])
        if tag == "a":
            assert re.match(r"(/|#|\?|https://example\.org/)", attributes["href"] or ""), attributes
        if tag == "a" and (attributes["href"] or "").startswith("http"):
            assert attributes["rel"] == "nofollow noopener noreferrer"
    follows = {f"/static/{name}" for name in ("vendor/htmx.min.js", "vendor/sse.min.js", "vendor/idiomorph-ext.min.js")}
    plots = {f"/static/{name}.js" for name in ("vendor/uPlot.min", "figures", "charts")} if path == CAMPAIGN else set()
    alone = path.endswith(("/report", "/campaigns"))
    assert scripts == (set() if alone else {"/static/live.js"} | follows | plots)


@pytest.mark.parametrize("path", PAGES)
async def test_no_control_character_or_override_reaches_a_reader(site: Site, path: str) -> None:
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", await page(site, path))


@pytest.mark.parametrize("path", ["/campaigns", CAMPAIGN, f"{CAMPAIGN}/researchers/r2", f"{CAMPAIGN}/report"])
async def test_offline_researchers_are_called_what_they_are(site: Site, path: str) -> None:
    html = await page(site, path)
    assert OFFLINE_LABEL in html
    assert "offline-search" not in html


async def test_the_campaign_shows_all_that_a_reader_wants(site: Site) -> None:
    html = await page(site, CAMPAIGN)
    for part in ("PCA-10 head, prior, confidence floor", "human 0.23", "$22", "Who tried permuted labels?", "s8</a>"):
        assert part in html
    assert "PGR over time: 13 measured submissions, best" in html
    assert '<svg class="chart' not in html
    report = await page(site, f"{CAMPAIGN}/report")
    assert report.count('class="frontier"') == 2 * 2  # over time and over dollars, wide and narrow
    assert report.count('<g class="point') == 2 * (13 + 4)  # each by itself, and narrow: by researcher


async def test_a_submission_shows_claim_verdict_code_and_parent(site: Site) -> None:
    html = await page(site, f"{CAMPAIGN}/submissions/14")
    for part in ("errors are structured", "Rank 1 of 13", "import numpy as np", f"{CAMPAIGN}/submissions/12"):
        assert part in html
    assert "MemoryError" in await page(site, f"{CAMPAIGN}/submissions/8")


async def test_a_post_renders_markdown_below_the_pages_headings(site: Site) -> None:
    html = await page(site, f"{CAMPAIGN}/posts/1")
    assert "<h3>What I did</h3>" in html
    assert "<strong>ten</strong>" in html
    assert "<td>384</td>" in html
    assert "person</span>" in html


async def test_the_first_page_is_the_campaign_under_way_or_the_list(site: Site) -> None:
    async with site.client() as client:
        assert (await client.get("/")).headers["location"] == "/campaigns"
        assert (await client.get("/campaigns/latest")).headers["location"] == CAMPAIGN
    async with site.client(campaign_id="k3v9qd") as client:
        assert (await client.get("/")).headers["location"] == CAMPAIGN


@pytest.mark.parametrize(
    "path",
    [
        "/campaigns/zzz",
        "/campaigns/..%2f",
        f"{CAMPAIGN}/posts/77",
        f"{CAMPAIGN}/submissions/99",
        f"{CAMPAIGN}/researchers/r9",
    ],
)
async def test_what_is_not_there_is_a_page_that_says_so(site: Site, path: str) -> None:
    async with site.client() as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "Not Found" in answer.text


async def test_a_search_is_shown_back_inert(site: Site) -> None:
    html = await page(site, f"{CAMPAIGN}/posts?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script>alert" not in html
