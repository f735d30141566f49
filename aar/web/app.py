"""Builds the web application: the API under ``/api/v1``, pages, and the event stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from aar import __version__
from aar.auth.sessions import open_sessions
from aar.auth.tokens import operator_token, viewer_token
from aar.report import ASSETS
from aar.settings import get_settings
from aar.snapshots.store import SnapshotStore
from aar.store.database import Database
from aar.web import api, error_handlers, pages
from aar.web.app_state import AppState
from aar.web.event_feed import EventFeed
from aar.web.listen_address import is_loopback
from aar.web.mcp import is_installed as mcp_installed
from aar.web.mcp.http_endpoint import McpEndpoint
from aar.web.middleware import (
    AuditLog,
    AuditTrail,
    Authentication,
    BodyLimit,
    ConcurrencyLimit,
    OriginCheck,
    RateLimiting,
    ReadAccess,
    SecurityHeaders,
)
from aar.web.rate_limit import RateLimits
from aar.web.render_cache import RenderCache

_HERE = Path(__file__).parent


def create_app(
    db: Database,
    *,
    home: Path,
    campaign_id: str | None = None,
    host: str = "127.0.0.1",
    snapshots: SnapshotStore | None = None,
    rates: RateLimits | None = None,
) -> FastAPI:
    """Builds the application over one database.

    Args:
        db: an open database; the app does not close it.
        home: folder that holds the operator's and the viewer's tokens (made if absent) and the campaigns' folders.
        campaign_id: the campaign that this process runs; its page is then the first one.
        host: the address that will be listened on; beyond loopback every request needs a login or a token.
        snapshots: store of the code of ``campaign_id``, if not in its folder under ``home``.
        rates: rate limits of clients; None for the defaults.
    """
    feed = EventFeed(db)
    shared = AppState(
        db=db,
        settings=get_settings().model_copy(update={"home": home}),
        own_snapshots=snapshots,
        feed=feed,
        campaign_id=campaign_id,
        operator_token=operator_token(home),
        viewer_token=viewer_token(home),
        sessions=open_sessions(home),
        open_reading=is_loopback(host),
        rates=rates or RateLimits(),
    )

    mcp = McpEndpoint(shared, host)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        feed.close()
        await feed.ended()
        await mcp.aclose()

    app = FastAPI(
        title="aar",
        version=__version__,
        description="Campaigns of automated alignment researchers. Scores are measured by the controller; "
        "no request can set or change one.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        exception_handlers=error_handlers.EXCEPTION_HANDLERS,
        responses=error_handlers.DOCUMENTED_ERRORS,  # type: ignore[arg-type]  # its keys are int | str
    )
    app.state.aar = shared
    app.include_router(api.router)
    app.include_router(pages.router)
    if mcp_installed():
        app.router.routes.extend(mcp.routes)
    app.mount("/static/report", StaticAssets(directory=ASSETS), name="report-static")
    app.mount("/static", StaticAssets(directory=_HERE / "static"), name="static")
    app.add_middleware(GZipMiddleware, compresslevel=5)
    app.add_middleware(RenderCache, feed=feed)
    app.add_middleware(BodyLimit)
    for check in (ConcurrencyLimit, ReadAccess, RateLimiting, Authentication, OriginCheck):  # the last is the outermost
        app.add_middleware(check, shared=shared)
    # Starlette's own stands outside of every layer: a failed request would have no headers and no audit line.
    app.add_middleware(ServerErrorMiddleware, handler=error_handlers.on_bug)
    app.add_middleware(AuditTrail, shared=shared, audit=AuditLog(home))
    app.add_middleware(SecurityHeaders)
    return app


class StaticAssets(StaticFiles):
    """A folder of static files; an unchanged file is not sent again (304).

    Browsers store and revalidate them each time, so that an upgrade never mixes versions.
    """

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Returns a file, or 304 if it has not changed."""
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "private, no-cache"
        return answer
