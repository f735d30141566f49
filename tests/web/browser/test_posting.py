"""Taking part in the forum from its pages: with and without JavaScript, on a phone, with a keyboard, and refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest

from ..conftest import Site
from .test_every_page import AXE, BARRIERS, DESK, PHONE, WIDER

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CAMPAIGN = "/campaigns/k3v9qd"
POSTS = f"{CAMPAIGN}/posts"
LogIn = Callable[..., None]


def barriers(page: Page) -> list[str]:
    """What shuts people out of a page as it stands, on a desk and on a phone."""
    found: list[str] = []
    for size in (DESK, PHONE):
        page.set_viewport_size(size)
        page.evaluate(AXE)
        found += page.evaluate(BARRIERS) + page.evaluate(WIDER)
    page.set_viewport_size(DESK)
    return [f"{page.url}: {each}" for each in found]


@pytest.mark.parametrize("scripted", [True, False], ids=["scripted", "plain"])
def test_a_person_posts_comments_votes_pins_edits_and_retracts(
    address: str, browser: Browser, log_in: LogIn, scripted: bool
) -> None:
    context = browser.new_context(viewport=DESK, java_script_enabled=scripted)
    page = context.new_page()
    log_in(page, POSTS)
    title = f"From the page, {'scripted' if scripted else 'plain'}"
    page.click("text=Write a post")
    page.select_option("#post-kind", "hypothesis")
    page.fill("#post-title", title)
    page.fill("#post-body", "    indented\n\nSee **s7** @r2.\n")
    page.click("button[value=preview]")
    assert page.inner_text("[aria-label=Preview] strong >> nth=0") == title
    assert page.locator("[aria-label=Preview] a[href$='/submissions/7']").count() == 1
    assert page.input_value("#post-body") == "    indented\n\nSee **s7** @r2.\n"
    page.click("button[value=post]")
    page.wait_for_url(f"{address}{POSTS}/*")
    assert "is on the forum" in page.inner_text("main >> [role=status]")
    assert page.inner_text("h1") == title
    assert page.inner_text("#thread pre") == "indented\n"
    where = page.url

    page.fill("#comment-body", "And *sarcasm*?")
    page.click("button[value=preview]")
    assert page.inner_text("[aria-label=Preview] em") == "sarcasm"
    page.click("button[value=comment]")
    page.wait_for_selector("#comments >> text=And sarcasm?")
    page.click("[role=group] >> text=Pin")
    page.wait_for_selector("#thread .pill >> text=pinned")
    page.click("[role=group] >> text=Edit or retract")
    page.fill("#edit-body", "Second thought.")
    page.click("button[value=preview]")
    page.click("button[value=save]")
    page.wait_for_selector("#thread >> text=1 former version")
    page.click("#comments >> text=edit or retract")
    page.fill("#edit-reason", "Off topic")
    page.click("button[value=retract]")
    page.wait_for_selector("#comments .notice >> text=Off topic")

    page.goto(f"{address}{POSTS}")
    assert title in page.inner_text("#forum [aria-labelledby=pinned]")
    page.goto(where)
    page.click("[role=group] >> text=Unpin")
    page.wait_for_selector("[role=group] >> text=Pin")
    page.goto(f"{address}{POSTS}/{2 if scripted else 3}")
    page.click("text=Vote up")
    page.wait_for_selector("[aria-pressed=true] >> text=Vote up")
    page.click("text=Vote down")
    page.wait_for_selector("[aria-pressed=true] >> text=Vote down")
    assert "You voted against it" in page.inner_text("main")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_refused_form_says_why_keeps_every_word_and_can_be_reached(
    address: str, browser: Browser, log_in: LogIn, scheme: str
) -> None:
    context = browser.new_context(viewport=DESK, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    log_in(page, POSTS)
    page.click("text=Write a post")
    found = barriers(page)
    said = "猫" * 20_001
    page.fill("#post-body", said)
    page.fill("#post-submission", "s99")
    page.click("button[value=post]")
    page.wait_for_selector(".mistakes:focus")
    assert page.input_value("#post-body") == said
    for name, why in (("title", "empty"), ("body", "20,001"), ("submission", "s99")):
        assert page.get_attribute(f"#post-{name}", "aria-invalid") == "true"
        beside = page.get_attribute(f"#post-{name}", "aria-describedby").split()[-1]
        assert why in page.inner_text(f"#{beside}")
    found += barriers(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "post-title"
    page.fill("#post-title", "A title")
    page.fill("#post-body", "Short | and | wide\n\n" + "x" * 300)
    page.fill("#post-submission", "")
    page.click("button[value=preview]")
    page.wait_for_selector("[aria-label=Preview]:focus")
    found += barriers(page)
    for path, button in (
        (f"{POSTS}/1", "comment"),
        (f"{POSTS}/1/edit", "retract"),
        (f"{CAMPAIGN}/comments/1/edit", ""),
    ):
        page.goto(f"{address}{path}")
        found += barriers(page)
        if button:
            page.click(f"button[value={button}]")
            page.wait_for_selector(".mistakes")
            found += barriers(page)
    context.close()
    assert not found, "\n".join(found)


def test_a_refresh_leaves_alone_what_somebody_types(site: Site, address: str, browser: Browser, log_in: LogIn) -> None:
    api = f"{address}/api/v1{POSTS}"
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    for path, opened, field, fresh in (
        (POSTS, "text=Write a post", "#post-body", "#forum >> text=While she typed"),
        (f"{POSTS}/1", "", "#comment-body", "#comments >> text=Said meanwhile"),
    ):
        log_in(page, path)
        page.wait_for_selector(".live[data-on=yes]")
        if opened:
            page.click(opened)
        page.click(field)
        page.keyboard.type("Half a sen")
        post = {"kind": "insight", "title": "While she typed", "body": "x"}
        httpx.post(api, json=post, headers=site.researcher("r3")).raise_for_status()
        said = {"body": "Said meanwhile"}
        httpx.post(f"{api}/1/comments", json=said, headers=site.researcher("r3")).raise_for_status()
        page.wait_for_selector(fresh)
        page.keyboard.type("tence")
        assert page.input_value(field) == "Half a sentence"
    context.close()


def test_two_clicks_and_a_step_back_store_one_post(address: str, browser: Browser, log_in: LogIn) -> None:
    context = browser.new_context(viewport=DESK, java_script_enabled=False)
    page = context.new_page()
    log_in(page, POSTS)
    page.click("text=Write a post")
    page.fill("#post-title", "Clicked twice")
    page.fill("#post-body", "Once is enough.")
    page.dblclick("button[value=post]", no_wait_after=True)
    page.wait_for_url(f"{address}{POSTS}/*")
    page.goto(f"{address}{POSTS}")
    assert page.locator("#forum >> text=Clicked twice").count() == 1
    context.close()
