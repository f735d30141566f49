"""A figure in a post: it loads under the page's policy, fits a phone, and shuts nobody out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

from ..conftest import Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
API = "/api/v1/campaigns/k3v9qd"
AXE = (Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_wide_figure_is_seen_on_a_phone(
    site: Site, address: str, browser: Browser, tmp_path: Path, scheme: str
) -> None:
    plot = tmp_path / "plot.png"
    Image.new("RGBA", (1600, 700), (0, 0, 0, 0)).save(plot)
    brought = httpx.post(
        f"{address}{API}/figures", content=plot.read_bytes(), headers=site.operator | {"Content-Type": "image/png"}
    )
    body = (
        brought.json()["markdown"].replace("[]", "[Loss over epochs]") + f"\n\nand {brought.json()['markdown']} inline"
    )
    sent = {"kind": "result", "title": f"A wide plot, {scheme}", "body": body}
    post = httpx.post(f"{address}{API}/posts", json=sent, headers=site.operator).json()
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    page.goto(f"{address}/campaigns/k3v9qd/posts/{post['id']}", wait_until="load")
    for image in page.locator(".prose img").all():
        image.scroll_into_view_if_needed()
        page.wait_for_function("image => image.complete && image.naturalWidth === 1600", arg=image.element_handle())
        box = image.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert abs(box["width"] / box["height"] - 1600 / 700) < 0.05
        assert image.evaluate("image => getComputedStyle(image).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("figure img").get_attribute("alt") == "Loss over epochs"
    assert page.locator("figure figcaption").inner_text() == "Loss over epochs"
    page.evaluate(AXE)
    assert page.evaluate("async () => (await axe.run()).violations.map((each) => each.id)") == []
    assert complaints == []
    context.close()
