"""``aar serve``: pages and API without a campaign in this process."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from aar.auth.sessions import LoginLinks
from aar.cli.author_name import login_line, login_name
from aar.cli.campaign_options import LATEST, CampaignId
from aar.cli.context import open_context
from aar.cli.options import DatabaseOption
from aar.errors import NotFound
from aar.processes import raise_open_file_limit
from aar.web.app import create_app
from aar.web.server import access_notice, bind_listener, page_address, serve_app


def serve(
    campaign: CampaignId = LATEST,
    host: Annotated[str, typer.Option("--host", help="Address; beyond loopback every request needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8808,
    database: DatabaseOption = None,
) -> None:
    """Serve the pages and the API until Ctrl-C.

    Shows the campaigns in the database; a running campaign already serves its own. Prints an address that logs you in
    once.
    """
    raise_open_file_limit()
    with open_context(database) as workplace:
        home = workplace.settings.home
        try:
            view = workplace.campaign(campaign)
        except NotFound:
            if campaign != LATEST:
                raise
            view = None  # the pages also work without a campaign
        listener = bind_listener(host, port)
        links = LoginLinks()
        served = view.id if view else None
        app = create_app(workplace.database, home=home, campaign_id=served, host=host, login_links=links)
        print(f"{page_address(listener, host)}  (Ctrl-C ends)")
        print(access_notice(host, str(home / "operator-token")))
        print(login_line(page_address(listener, host), links.issue("operator", login_name())), flush=True)
        asyncio.run(serve_app(app, listener, handle_signals=True))
