"""The process that serves a running campaign's pages: ``python -m aar.cli.running.page_server CAMPAIGN HOST FD``.

The address of the database comes in the environment. Login links, which nobody else may see, come as a line of JSON on
standard input. That stays open as long as the controller runs; when it closes, the process ends, also after a kill.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from typing import IO

from aar.auth.sessions import LoginLinks
from aar.cli.context import open_context
from aar.cli.output.log_setup import configure_logging
from aar.processes import exit_with_parent, raise_open_file_limit
from aar.web.app import create_app
from aar.web.server import serve_app

_NICE = 5
"""Drawing pages gives way to the campaign's own work."""


def main(campaign_id: str, host: str, descriptor: int, parent: IO[bytes]) -> None:
    """Serve until SIGTERM, or until the controller ends."""
    raise_open_file_limit()
    os.nice(_NICE)
    links = LoginLinks()
    links.import_pending(json.loads(parent.readline() or b"[]"))
    exit_with_parent(parent)
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    with open_context(None) as workplace, configure_logging(None, workplace.settings.log_level):
        home = workplace.settings.home
        app = create_app(workplace.database, home=home, campaign_id=campaign_id, host=host, login_links=links)
        asyncio.run(serve_app(app, listener, handle_signals=True))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.stdin.buffer)
