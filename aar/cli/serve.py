"""``aar serve``, and the process that serves a running campaign's pages.

That process is ``python -m aar.cli.serve CAMPAIGN HOST FD``. The address of the database comes in the environment.
Standard input stays open as long as the controller runs; when it closes, the process ends, also after a kill.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import IO, Annotated

import typer

from aar.auth.sessions import open_sessions
from aar.cli.context import LATEST, CampaignId, login_line, login_name, open_context
from aar.cli.options import DatabaseOption
from aar.cli.output.log_setup import configure_logging
from aar.errors import NotFound
from aar.processes import exit_with_parent, raise_open_file_limit
from aar.web.app import create_app
from aar.web.listen_address import bind_listener, page_address
from aar.web.server import access_notice, serve_app

_NICE = 5
"""Drawing pages gives way to the campaign's own work."""


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
    with open_context(database) as context:
        home = context.settings.home
        try:
            view = context.campaign(campaign)
        except NotFound:
            if campaign != LATEST:
                raise
            view = None  # the pages also work without a campaign
        listener = bind_listener(host, port)
        served = view.id if view else None
        app = create_app(context.database, home=home, campaign_id=served, host=host)
        print(f"{page_address(listener, host)}  (Ctrl-C ends)")
        print(access_notice(host, str(home / "operator-token")))
        link = open_sessions(home).create_link("operator", login_name())
        print(login_line(page_address(listener, host), link), flush=True)
        asyncio.run(serve_app(app, listener, handle_signals=True))


def main(campaign_id: str, host: str, descriptor: int, parent: IO[bytes]) -> None:
    """Serve until SIGTERM, or until the controller ends."""
    raise_open_file_limit()
    os.nice(_NICE)
    exit_with_parent(parent)
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    with open_context(None) as context, configure_logging(None, context.settings.log_level):
        home = context.settings.home
        app = create_app(context.database, home=home, campaign_id=campaign_id, host=host)
        asyncio.run(serve_app(app, listener, handle_signals=True))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.stdin.buffer)
