"""A served campaign, written by real services, asked through ASGI or a real server."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import FastAPI

from aar.auth.tokens import operator_token, viewer_token
from aar.store.database import Database
from aar.testing.example_campaign import ExampleCampaign
from aar.web.app import create_app
from aar.web.listen_address import bind_listener, page_address
from aar.web.server import serve_app

from ..example_copies import ExampleCopies
from .person import Person

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BASE = "http://127.0.0.1"
CHROMIUM = (
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True, slots=True)
class Site:
    """An example campaign and the folder it lives in."""

    home: Path
    db: Database
    example: ExampleCampaign

    @property
    def operator(self) -> dict[str, str]:
        """The operator's header."""
        return {"Authorization": f"Bearer {operator_token(self.home)}"}

    @property
    def viewer(self) -> dict[str, str]:
        """The header of a person who reads."""
        return {"Authorization": f"Bearer {viewer_token(self.home)}"}

    def researcher(self, name: str) -> dict[str, str]:
        """A researcher's header."""
        return {"Authorization": f"Bearer {self.example.tokens[f'{self.example.id}-{name}']}"}

    def app(self, **options: Any) -> FastAPI:
        """A fresh app over the campaign."""
        return create_app(self.db, home=self.home, **options)

    def client(self, who: dict[str, str] | None = None, **options: Any) -> httpx.AsyncClient:
        """A client that asks the app directly, with somebody's header or none."""
        transport = httpx.ASGITransport(self.app(**options), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=BASE, headers=who)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """The app behind a real server on a free port; its address."""
        listener = bind_listener("127.0.0.1", 0)
        address = f"{BASE}:{listener.getsockname()[1]}"
        task = asyncio.create_task(serve_app(self.app(), listener))
        try:
            yield address
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def open_site(example_copies: ExampleCopies, home: Path, *, audits: bool = False) -> Iterator[Site]:
    """A copy of the example campaign in a home folder."""
    example = example_copies.copy(home, audits=audits)
    db = Database(f"sqlite:///{home / 'aar.db'}")
    try:
        yield Site(home, db, example)
    finally:
        db.close()


@pytest.fixture
def site(example_copies: ExampleCopies, tmp_path: Path) -> Iterator[Site]:
    """A campaign of the test's own."""
    with open_site(example_copies, tmp_path / "home") as made:
        yield made


@pytest.fixture
async def ana(site: Site) -> AsyncIterator[Person]:
    """A person who logged in as the operator."""
    async with site.client() as client:
        person = Person(client)
        await person.log_in(operator_token(site.home))
        yield person


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    """Where the site is served."""
    with serving_in_a_thread(site) as where:
        yield where


@contextmanager
def serving_in_a_thread(site: Site) -> Iterator[str]:
    """The site served from a thread of its own: the browser's own interface blocks this one."""
    listener = bind_listener("127.0.0.1", 0)
    where = page_address(listener, "127.0.0.1")
    loop = asyncio.new_event_loop()
    stop = Event()

    async def live() -> None:
        serving = asyncio.create_task(serve_app(site.app(), listener))
        await asyncio.to_thread(stop.wait)
        serving.cancel()
        await asyncio.wait([serving])

    thread = Thread(target=lambda: (loop.run_until_complete(live()), loop.close()))
    thread.start()
    try:
        yield where
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, driven by Playwright's synchronous interface."""
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("AAR_REQUIRE_ALL") == "1":
            pytest.fail("no chromium here, and AAR_REQUIRE_ALL=1")
        pytest.skip("no chromium here: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM))
        yield opened
        opened.close()
