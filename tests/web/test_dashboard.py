"""What a person opens in the morning: every page has its JSON, every figure its CSV, and none is heavy."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from aar.redteam.campaign_rows import add_campaign
from aar.store.models import Campaign

from .conftest import Site

pytestmark = pytest.mark.anyio
CAMPAIGN = "/campaigns/k3v9qd"
RESEARCHER = f"{CAMPAIGN}/researchers/r2"
COMPARED = "/compare?left=k3v9qd&right=m2x7pp"
PAGES = [
    "/campaigns",
    CAMPAIGN,
    f"{CAMPAIGN}?over=usd",
    f"{CAMPAIGN}/lineage",
    f"{CAMPAIGN}/posts",
    f"{CAMPAIGN}/posts?q=components",
    f"{CAMPAIGN}/posts/1",
    f"{CAMPAIGN}/submissions/8",
    f"{CAMPAIGN}/submissions/14",
    RESEARCHER,
    f"{RESEARCHER}/files",
    f"{RESEARCHER}/files?path=exp/a.py",
    f"{RESEARCHER}/files?path=exp%2Fplot.png",
    "/compare",
    COMPARED,
]
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 40
TOKEN = "sk-ant-" + "a" * 30


@pytest.fixture(autouse=True)
def desk(site: Site) -> Path:
    """Two campaigns, and a researcher with something on its desk."""
    root: Path = site.home / "campaigns" / "k3v9qd" / "workspaces" / "r2"
    (root / "exp").mkdir(parents=True)
    (root / "NOTEBOOK.md").write_text("# What I know\n\n<script>alert(1)</script> **Ten** components.\n")
    (root / "exp" / "a.py").write_text(f"print('\x1b[31m')  # {TOKEN}\n")
    (root / "exp" / "plot.png").write_bytes(PNG)
    (root / "out").symlink_to(site.home)
    with site.db.writing() as session:
        add_campaign(session, "m2x7pp", 2)
        campaign = session.get_one(Campaign, "m2x7pp")
        campaign.spec, campaign.name = {"directions": {"deal": "same"}, "seed": 77, "limits": {"hours": 2}}, "control"
    return root


async def html_of(site: Site, path: str) -> str:
    async with site.client(site.viewer) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return str(answer.text)


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_has_its_json(site: Site, path: str) -> None:
    html = await html_of(site, path)
    footer = html[html.index("<footer>") :]
    twins = [each.replace("&amp;", "&") for each in re.findall(r'href="(/api/v1[^"]*)"', footer)]
    assert twins
    async with site.client(site.viewer) as client:
        for twin in twins:
            answer = await client.get(twin)
            assert answer.status_code == 200, twin
            assert answer.headers["content-type"] == "application/json", twin


@pytest.mark.parametrize("path", PAGES)
async def test_every_figure_has_its_data(site: Site, path: str) -> None:
    html = await html_of(site, path)
    async with site.client(site.viewer) as client:
        for figure in re.findall(r"<figure.*?</figure>", html, re.DOTALL):
            links = re.findall(r'href="(/api/v1[^"]*\.csv)"', figure)
            assert links
            for link in links:
                answer = await client.get(link)
                assert answer.headers["content-type"] == "text/csv; charset=utf-8"
                rows = list(csv.reader(io.StringIO(answer.text)))
                assert len({len(row) for row in rows}) == 1
                twin = (await client.get(link.removesuffix(".csv"))).json()
                assert len(rows) - 1 == len(twin["rows"] if isinstance(twin, dict) else twin)


@pytest.mark.parametrize("path", PAGES)
async def test_a_first_load_is_under_200_kb(site: Site, path: str) -> None:
    html = await html_of(site, path)
    assets = set(re.findall(r'<(?:link|script|img)[^>]*(?:href|src)="(/[^"]+)"', html))
    assert any(each.endswith(".css") for each in assets)
    async with site.client(site.viewer) as client:
        answers = [await client.get(each) for each in sorted(assets)]
    assert {answer.status_code for answer in answers} == {200}
    assert len(html.encode()) + sum(len(answer.content) for answer in answers) < 200_000


@pytest.mark.parametrize("path", PAGES)
async def test_every_region_has_a_name_and_every_drawing_words(site: Site, path: str) -> None:
    html = await html_of(site, path)
    assert html.count("<h1") == 1
    for tag in re.findall(r"<section[^>]*>|<svg[^>]*>|<img[^>]*>", html):
        assert "aria-label=" in tag or 'aria-hidden="true"' in tag or "alt=" in tag, tag
    assert len(set(found := re.findall(r' id="([^"]+)"', html))) == len(found)


async def test_the_campaign_is_seen_over_time_and_over_dollars(site: Site) -> None:
    hours, usd = await html_of(site, CAMPAIGN), await html_of(site, f"{CAMPAIGN}?over=usd")
    assert "PGR over time: " in hours
    assert "PGR over dollars: " not in hours
    assert "PGR over dollars: " in usd
    for html in (hours, usd):
        for part in ("human 0.23", "published 0.97, on other models", "ceiling 1", "limit submissions"):
            assert part in html
    async with site.client(site.viewer) as client:
        assert (await client.get(f"{CAMPAIGN}?over=moons")).status_code == 422


async def test_a_desk_is_shown_inert_and_without_secrets(site: Site) -> None:
    html = await html_of(site, RESEARCHER)
    assert "<strong>Ten</strong>" in html
    assert "<script>alert" not in html
    shown = await html_of(site, f"{RESEARCHER}/files?path=exp/a.py")
    assert TOKEN not in shown
    assert "\x1b" not in shown
    assert "[secret removed]" in shown
    listing = await html_of(site, f"{RESEARCHER}/files")
    assert "out <span" in listing
    async with site.client(site.viewer) as client:
        image = await client.get(f"/api/v1{RESEARCHER}/files/image?path=exp/plot.png")
        assert (image.headers["content-type"], image.content) == ("image/png", PNG)
        assert image.headers["x-content-type-options"] == "nosniff"
        for path in ("out", "out/operator-token", "../../../operator-token", "exp/no", "/etc/passwd"):
            for page in (f"{RESEARCHER}/files", f"/api/v1{RESEARCHER}/files", f"/api/v1{RESEARCHER}/files/image"):
                assert (await client.get(page, params={"path": path})).status_code == 404
        assert (await client.get(f"/api/v1{RESEARCHER}/files/image?path=exp/a.py")).status_code == 404


async def test_no_researcher_looks_at_desks_or_splits(site: Site) -> None:
    async with site.client(site.viewer) as client:
        for path in (
            f"{RESEARCHER}/files",
            f"{RESEARCHER}/notebook",
            f"{RESEARCHER}/jobs",
            f"{CAMPAIGN}/submissions/14/seeds",
            f"{CAMPAIGN}/submissions/14/seeds.csv",
        ):
            assert (await client.get(f"/api/v1{path}", headers=site.researcher("r1"))).status_code == 403
            assert (await client.get(f"/api/v1{path}", headers=site.operator)).status_code == 200


async def test_a_submission_shows_what_it_changed_and_each_split(site: Site) -> None:
    html = await html_of(site, f"{CAMPAIGN}/submissions/14")
    assert "Changes against s12" in html
    assert html.count('class="seed"') == 2 * 6
    async with site.client(site.viewer) as client:
        changed = (await client.get(f"/api/v1{CAMPAIGN}/submissions/14/diff")).json()
        first = (await client.get(f"/api/v1{CAMPAIGN}/submissions/1/diff")).json()
    assert (changed["parent"], [each["path"] for each in changed["files"]]) == (12, ["run.py"])
    assert first == {"parent": None, "files": []}
    assert "Changes against" not in await html_of(site, f"{CAMPAIGN}/submissions/1")


async def test_two_campaigns_are_compared_without_their_secrets(site: Site) -> None:
    html = await html_of(site, COMPARED)
    assert "directions.deal" in html
    assert ">seed<" not in html
    async with site.client(site.viewer) as client:
        found = (await client.get(f"/api/v1{COMPARED}")).json()
        assert (await client.get("/compare?left=k3v9qd&right=zzz")).status_code == 404
        assert (await client.get("/api/v1/compare?left=k3v9qd")).status_code == 422
    assert (found["left"]["submissions"], found["right"]["submissions"]) == (14, 0)
    fields = {row["field"]: (row["left"], row["right"], row["differs"]) for row in found["spec"]}
    assert fields["directions.deal"] == ("–", "same", True)
    assert "seed" not in fields


async def test_lineage_draws_who_built_on_whom(site: Site) -> None:
    html = await html_of(site, f"{CAMPAIGN}/lineage")
    assert html.count('class="descent') == 2 * 9
    async with site.client(site.viewer) as client:
        rows = (await client.get(f"/api/v1{CAMPAIGN}/charts/lineage")).json()["rows"]
    assert [14, 12, 3] in [row[:3] for row in rows]
