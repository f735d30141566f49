"""Pages in a real browser: they stay fresh by themselves, fit a phone, and run nothing that an agent wrote."""

from __future__ import annotations

from typing import Any

import pytest

from aar.forum.posts import Author, create_post

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CAMPAIGN = "/campaigns/k3v9qd"


def test_a_new_post_appears_by_itself(site: Any, address: str, browser: Any) -> None:
    page = browser.new_page()
    page.goto(f"{address}{CAMPAIGN}")
    page.wait_for_selector('.live[data-on="yes"]')
    with site.db.writing() as session:
        create_post(session, "k3v9qd", Author("r2", "k3v9qd-r2"), kind="insight", title="Fresh from r2", body="b")
    page.wait_for_selector("#posts >> text=Fresh from r2")
    assert "Fresh from r2" in page.locator("#log").inner_text()
    page.close()


def test_an_attack_in_a_post_does_nothing(address: str, browser: Any) -> None:
    page = browser.new_page()
    elsewhere, complaints = [], []
    page.on("request", lambda request: elsewhere.append(request.url) if address not in request.url else None)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    for path in ("/posts/5", "/posts", "", "/submissions/14", "/researchers/r1", "/report"):
        page.goto(f"{address}{CAMPAIGN}{path}")
        page.wait_for_load_state("load")
        assert page.title() != "owned"
    assert (elsewhere, complaints) == ([], [])
    page.close()


def test_everything_reads_without_javascript(address: str, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}{CAMPAIGN}")
    page.click("#board >> text=PCA-10 head, prior, confidence floor")
    assert "Rank 2 of 13" in page.inner_text("main")
    page.click("nav >> text=forum")
    page.fill("input[name=q]", "components")
    page.click("main button")
    assert "Ten principal components are enough" in page.inner_text("main")
    context.close()
