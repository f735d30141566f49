"""Two campaigns behind a real server, and the official SDK's client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from aar.auth.tokens import viewer_token
from aar.campaign.external_researchers import invite_researcher
from aar.forum.authors import Author
from aar.forum.posts import create_post
from aar.redteam.campaign_rows import add_campaign
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.database import Database
from aar.store.models import Campaign
from aar.web.app import create_app
from aar.web.listen_address import bind_listener
from aar.web.rate_limit import RateLimits
from aar.web.server import serve_app

TOY, OTHER = "toyaaa", "toybbb"
METHOD = {
    "run.py": (Path(__file__).parents[3] / "aar/problems/toy/baselines/overall_mean/run.py").read_text(),
    "method.yaml": "title: The mean again\nclaim: Nothing beats it.\nfamilies: [other]\n",
}


@dataclass(frozen=True, slots=True)
class House:
    """Two running campaigns on the toy problem; ``alice`` joined the first, ``bob`` the second."""

    home: Path
    db: Database
    alice: str
    bob: str

    @property
    def viewer(self) -> str:
        """The token of a person who looks on: nobody may without one while guests are invited."""
        return viewer_token(self.home)

    @property
    def watching(self) -> dict[str, str]:
        """That person's header."""
        return {"Authorization": f"Bearer {self.viewer}"}

    @asynccontextmanager
    async def served(self, host: str = "127.0.0.1", rates: RateLimits | None = None) -> AsyncIterator[str]:
        """A real server that runs the first campaign; its address on loopback."""
        listener = bind_listener("127.0.0.1", 0)
        app = create_app(self.db, home=self.home, campaign_id=TOY, host=host, rates=rates)
        task = asyncio.create_task(serve_app(app, listener))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            task.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def connected(address: str, token: str | None = None, mode: str = "auto") -> AsyncIterator[Client]:
    """The official client over streamable HTTP."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with (
        create_mcp_http_client(headers=headers) as http,
        Client(streamable_http_client(address, http_client=http), mode=mode, cache=None) as client,
    ):
        yield client


async def ask(client: Client, tool: str, **given: Any) -> Any:
    """A tool's answer; insists on success."""
    result = await client.call_tool(tool, given)
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)  # type: ignore[union-attr]


async def refused(client: Client, tool: str, **given: Any) -> str:
    """What a tool says when it fails; insists that it does."""
    result = await client.call_tool(tool, given)
    assert result.is_error, result.content
    text: str = result.content[0].text  # type: ignore[union-attr]
    assert "Traceback" not in text
    return text


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    db = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    tokens = []
    for campaign, guest in ((TOY, "alice"), (OTHER, "bob")):
        SnapshotStore(tmp_path / "campaigns" / campaign / "snapshots")
        with db.writing() as session:
            add_campaign(session, campaign, 2)
            row = session.get_one(Campaign, campaign)
            row.problem, row.state, row.spec = "toy", "running", {"limits": {"usd": "5", "submissions": 2}}
            session.flush()
            tokens.append(invite_researcher(session, campaign, guest, "Begin with the mean."))
            author = Author("r1", f"{campaign}-r1")
            create_post(
                session,
                campaign,
                author,
                kind="insight",
                title=f"Found in {campaign}",
                body="Means. " * 90 + "\x1b[31m\u202ex",
            )
    yield House(tmp_path, db, *tokens)
    db.close()
