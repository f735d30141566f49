"""Every page, light and dark, on a desk and on a phone: no serious barrier, no complaint, nothing too wide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ...example_copies import ExampleCopies
from ..conftest import Site, serving_in_a_thread
from .conftest import html_pages, open_full_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
AXE = (Path(__file__).parents[1] / "vendor" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
BARRIERS = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
  .filter((each) => ["serious", "critical"].includes(each.impact))
  .map((each) => `${each.id} (${each.impact}): ` + each.nodes.slice(0, 3).map((node) =>
    `${node.target.join(" ")} ${node.any.map((why) => why.message).join("; ")}`).join(" | "))"""
WIDER = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll("main *, header *, footer *")]
    .filter((each) => each.getBoundingClientRect().right > innerWidth + 1 && !each.closest(".scroll, pre, svg"))
    .slice(0, 3).map((each) => each.outerHTML.slice(0, 120)).concat("wider than the screen")"""
FOCUS = """() => {
  const at = document.activeElement;
  if (!at || at === document.body) return null;
  const style = getComputedStyle(at);
  const box = at.getBoundingClientRect();
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  const seen = box.width > 0 && box.height > 0 && box.right > 0 && box.bottom > 0;
  return {what: at.outerHTML.slice(0, 120), good: ring && seen};
}"""
VISIBLE = """(parts) => parts
  .filter((each) => each.checkVisibility({visibilityProperty: true}) && each.getBoundingClientRect().width > 0)
  .map((each) => `${each.tagName} ${each.innerText}`)"""
TABS = 40


@pytest.fixture(scope="module")
def site(example_copies: ExampleCopies, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all tests of this file: they only read."""
    with open_full_site(example_copies, tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture(scope="module")
def address(site: Site) -> Iterator[str]:
    with serving_in_a_thread(site) as where:
        yield where


@pytest.fixture(scope="module")
def pages(site: Site, address: str) -> list[str]:
    return html_pages(site, address)


@pytest.mark.parametrize(
    ("scheme", "who"),
    [pytest.param("light", "nobody", marks=pytest.mark.nightly), ("dark", "viewer"), ("light", "operator")],
)
def test_no_page_shuts_anybody_out(
    address: str, browser: Browser, pages: list[str], log_in: Callable[..., None], scheme: str, who: str
) -> None:
    context = browser.new_context(viewport=DESK, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    if who != "nobody":
        log_in(page, role=who)
    found: list[str] = []
    where = ""
    page.on("console", lambda said: found.append(f"{where}: console: {said.text}") if said.type == "error" else None)
    page.on("pageerror", lambda error: found.append(f"{where}: error: {error}"))
    page.on(
        "request", lambda asked: found.append(f"{where}: {asked.url}") if not asked.url.startswith(address) else None
    )
    for path in pages:
        page.set_viewport_size(DESK)
        page.goto(f"{address}{path}", wait_until="load")
        page.evaluate(AXE)  # through the debugger, which the page's own policy does not bind
        for size in (DESK, PHONE):
            where = f"{path} at {size['width']} px, {scheme}, {who}"
            page.set_viewport_size(size)
            found += [f"{where}: {each}" for each in page.evaluate(BARRIERS)]
            found += [f"{where}: {each}" for each in page.evaluate(WIDER)]
        if page.locator("h1").count() != 1 or not page.title().strip():
            found.append(f"{where}: needs one h1 and a title")
    context.close()
    assert not found, "\n".join(found)


def test_the_keyboard_shows_where_it_is(
    address: str, browser: Browser, pages: list[str], log_in: Callable[..., None]
) -> None:
    page = browser.new_page(viewport=DESK)
    log_in(page)
    found: list[str] = []
    for path in pages:
        page.goto(f"{address}{path}", wait_until="load")
        reached = 0
        for _ in range(TABS):
            page.keyboard.press("Tab")
            at = page.evaluate(FOCUS)
            if at is None:
                break
            reached += 1
            if not at["good"]:
                found.append(f"{path}: {at['what']}")
        if not reached:
            found.append(f"{path}: nothing can be reached")
    page.close()
    assert not found, "\n".join(found)


def test_what_a_page_says_it_says_without_javascript(address: str, browser: Browser, pages: list[str]) -> None:
    parts = "main h1, main h2, main h3, main table:not(.u-legend), main figure svg, main form"
    said: dict[bool, dict[str, list[str]]] = {}
    for scripted in (True, False):
        context = browser.new_context(viewport=DESK, java_script_enabled=scripted)
        page = context.new_page()
        said[scripted] = {}
        for path in pages:
            page.goto(f"{address}{path}", wait_until="load")
            said[scripted][path] = page.locator(parts).evaluate_all(VISIBLE)
        context.close()
    for path, with_scripts in said[True].items():
        without = said[False][path]
        assert without, path
        missing = [each for each in with_scripts if each not in without]
        assert not missing, (path, missing)
