"""The MCP server on standard input and output, for clients that start it themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio.to_thread
from mcp.server.stdio import stdio_server

from aar.auth.sessions import Role, SessionStore
from aar.auth.tokens import operator_token, viewer_token
from aar.settings import Settings
from aar.store.database import Database
from aar.web.app_state import AppState
from aar.web.event_feed import EventFeed
from aar.web.mcp.client import McpClient, admit_client
from aar.web.mcp.server import build_server


async def serve_stdio(db: Database, settings: Settings, token: str | None, campaign: str | None) -> None:
    """Serves one client until it closes standard input.

    Args:
        token: a researcher's; None to read only.
        campaign: id, its beginning or ``latest``; None for the token's own.

    Raises:
        Unauthorized, Forbidden, NotFound: as ``admit_client``, before anything is served.
    """
    shared = _shared(db, settings)
    first = await anyio.to_thread.run_sync(admit_client, shared, token, campaign)

    async def caller_of(_ctx: Any) -> McpClient:
        return await anyio.to_thread.run_sync(admit_client, shared, token, first.campaign_id)

    server = build_server(caller_of)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def _shared(db: Database, settings: Settings) -> AppState:
    home: Path = settings.home
    tokens: dict[Role, str] = {"operator": operator_token(home), "viewer": viewer_token(home)}
    return AppState(
        db=db,
        settings=settings,
        own_snapshots=None,
        feed=EventFeed(db),
        campaign_id=None,
        operator_token=tokens["operator"],
        viewer_token=tokens["viewer"],
        sessions=SessionStore(tokens),
        open_reading=True,
        own_terminal=True,
    )
