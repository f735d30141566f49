"""Takes the screenshots of ``scripts/screenshots``: the newest campaign's main pages, in Debian's Chromium."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import sync_playwright

VIEWS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
TALLEST = 2400
"""Largest height of a screenshot, in pixels."""
IN_README = {"campaign": "light", "submission": "dark"}
"""Pages whose top is shown in docs/images, with their colours."""


@contextmanager
def served(home: Path) -> Iterator[str]:
    """Run ``aar serve`` over a folder. Yields its address."""
    command = [sys.executable, "-m", "aar", "serve", "--port", "0", "--database", f"sqlite:///{home / 'aar.db'}"]
    process = subprocess.Popen(command, env={"AAR_HOME": str(home)}, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0]
    finally:
        process.terminate()
        process.wait()


def log_in(page: Any, server: str, home: Path) -> None:
    """Log a page in as the operator: without that it shows only the researchers' view."""
    page.goto(f"{server}/login")
    page.fill("input[name=token]", (home / "operator-token").read_text().strip())
    page.click("main button")


def addresses(server: str) -> dict[str, str]:
    """Return the main pages by name.

    They show the newest campaign, its best submission, and the post with most comments.
    """
    with httpx.Client(base_url=f"{server}/api/v1") as client:

        def items(path: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = client.get(path).raise_for_status().json()["items"]
            return found

        campaigns = items("/campaigns")
        here = campaigns[0]["id"]
        best = items(f"/campaigns/{here}/leaderboard")[0]["submission"]
        talked_about = max(
            items(f"/campaigns/{here}/posts?limit=200"), key=lambda post: (post["comments"], len(post["cites"]))
        )
    campaign = f"/campaigns/{here}"
    two = {"compare": f"/compare?left={campaigns[1]['id']}&right={here}"} if len(campaigns) > 1 else {}
    return {
        "campaigns": "/campaigns",
        "campaign": campaign,
        "campaign-over-dollars": f"{campaign}?over=usd",
        "researcher": f"{campaign}/researchers/{best['researcher_name']}",
        "files": f"{campaign}/researchers/{best['researcher_name']}/files",
        "submission": f"{campaign}/submissions/{best['number']}",
        "forum": f"{campaign}/posts",
        "post": f"{campaign}/posts/{talked_about['id']}",
        "lineage": f"{campaign}/lineage",
        **two,
        "report": f"{campaign}/report",
        "launch": "/launch",
    }


def main() -> None:
    home, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    with served(home) as server, sync_playwright() as playwright:
        pages = addresses(server)
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for view, options in VIEWS.items():
            page = chromium.new_context(**options).new_page()
            log_in(page, server, home)
            for name, path in pages.items():
                answer = page.goto(f"{server}{path}")
                assert answer is not None, path
                assert answer.ok, (path, answer.status)
                tall = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
                clip = {"x": 0, "y": 0, "width": options["viewport"]["width"], "height": tall}
                page.screenshot(path=out / f"{name}-{view}.png", full_page=True, clip=clip)
                if IN_README.get(name) == view:
                    page.screenshot(path=out / f"readme-{name}.png", clip=clip | {"height": 1180}, full_page=True)
            page.context.close()
        chromium.close()
    print(f"{len(pages) * len(VIEWS)} pictures in {out}")


if __name__ == "__main__":
    main()
