"""The example campaign with its closer looks, a workspace and a second campaign, served to a browser."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from aar.redteam.campaign_rows import add_campaign
from aar.store.models import Campaign

from ...example_copies import ExampleCopies
from ..conftest import Site, open_site
from .addresses import pages_of

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def site(example_copies: ExampleCopies, tmp_path: Path) -> Iterator[Site]:
    """A campaign of the test's own that has of everything."""
    with open_full_site(example_copies, tmp_path / "home") as made:
        yield made


@contextmanager
def open_full_site(example_copies: ExampleCopies, home: Path) -> Iterator[Site]:
    """A campaign with confirmations, audits, a disqualification, a queue, an attack in a post, a workspace."""
    with open_site(example_copies, home, audits=True) as made:
        _fill(made)
        yield made


def _fill(made: Site) -> None:
    desk = made.home / "campaigns" / "k3v9qd" / "workspaces" / "r2"
    (desk / "exp").mkdir(parents=True)
    (desk / "NOTEBOOK.md").write_text("# What I know\n\n<script>alert(1)</script> **Ten** components.\n")
    (desk / "exp" / "a.py").write_text("print('\x1b[31m')\n")
    (desk / "exp" / "plot.png").write_bytes(_image())
    with made.db.writing() as session:
        add_campaign(session, "m2x7pp", 2)
        campaign = session.get_one(Campaign, "m2x7pp")
        campaign.spec, campaign.name = {"directions": {"deal": "same"}, "seed": 77, "limits": {"hours": 2}}, "control"


def _image() -> bytes:
    """One grey pixel, as a PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\x00\x80")) + chunk(b"IEND", b"")


@pytest.fixture
def log_in(site: Site, address: str) -> Callable[..., None]:
    """Logs a page in, as the operator or another role, through the form."""

    def through_the_form(page: Page, where: str = "/campaigns", role: str = "operator") -> None:
        header = site.viewer if role == "viewer" else site.operator
        page.goto(f"{address}/login?next={where}")
        page.fill("input[name=token]", header["Authorization"].removeprefix("Bearer "))
        page.fill("input[name=name]", "ana")
        page.click("main button")
        page.wait_for_url(f"{address}{where}")

    return through_the_form


@pytest.fixture
def pages(site: Site, address: str) -> list[str]:
    """What `html_pages` finds."""
    return html_pages(site, address)


def html_pages(site: Site, address: str) -> list[str]:
    """Addresses of all that is sent as HTML; the rest (redirects, downloads) must at least be there."""
    shown = []
    with httpx.Client(base_url=address, headers=site.viewer, timeout=30) as client:
        for path in pages_of(site.app()):
            answer = client.get(path)
            if path == "/login/once":  # of no use without an address that was given out
                continue
            assert answer.status_code in (200, 303, 307), (path, answer.status_code, answer.text[:300])
            if answer.status_code == 200 and answer.headers["content-type"].startswith("text/html"):
                shown.append(path)
    return shown
