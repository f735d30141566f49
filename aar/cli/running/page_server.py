"""The pages of a running campaign, served by a process of their own beside its controller.

Whatever happens there (connections without end, a page that is dear to draw, a crash) costs the campaign no descriptor,
no turn of its loop and no ending: the controller starts it again. It ends with the controller, a killed one too.

Run as ``python -m aar.cli.running.page_server CAMPAIGN HOST FD``. The database's address comes in the environment; what
nobody else may see comes as a line of JSON on standard input, which stays open as long as the controller lives.

It answers whoever reaches its port, so it inherits no API key and nothing else that its pages do not need: what
starts a campaign from there finds credentials in files alone, such as the one of ``AAR_ANTHROPIC_API_KEY_FILE``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from typing import IO

from aar.auth.login_links import LoginLinks
from aar.campaign.controller.controller import CampaignCompanion, RunningCampaign
from aar.campaign.runtime.child_process import exit_with_parent
from aar.errors import SetupError

_ENVIRONMENT = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "PYTHONUTF8", "PYTHONIOENCODING"),
        *("AAR_LOG_LEVEL", "AAR_DOCKER_HOST", "AAR_ANTHROPIC_API_KEY_FILE"),
        *("AWS_PROFILE", "AWS_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),
        *("GOOGLE_APPLICATION_CREDENTIALS", "ANTHROPIC_VERTEX_PROJECT_ID", "NO_PROXY", "no_proxy"),
        *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"),
    }
)
_PREFIXES = ("LC_", "XDG_", "PG")
"""PostgreSQL's client reads what an address leaves out, the password too, from variables of its own."""
_END_SECONDS = 8.0
_NICE = 5
"""Drawing pages gives way to the campaign's own work."""


def serve_pages(host: str, listener: socket.socket, links: LoginLinks) -> CampaignCompanion:
    """A companion that keeps a server process on a listening socket.

    Args:
        host: the address listened on.
        listener: from ``bind``; stays open in this process, so that the port is kept over a restart.
        links: addresses that log a person in, which the first process is told of on its standard input; one that
            nobody used before that process died is good no more.
    """

    async def pages(running: RunningCampaign) -> None:
        settings = running.plan.settings
        log = settings.campaign_dir(running.campaign_id) / "pages.log"
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "aar.cli.running.page_server",
                running.campaign_id,
                host,
                str(listener.fileno()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
                env=_environment() | {"AAR_HOME": str(settings.home), "AAR_DATABASE": running.database.url},
                pass_fds=(listener.fileno(),),
                start_new_session=True,  # a Ctrl-C at the terminal is the controller's to answer
            )
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(links.export_pending()).encode() + b"\n")
            code = await process.wait()
        finally:
            if process.returncode is None:
                await asyncio.shield(asyncio.ensure_future(_ended(process)))
            process.stdin.close()
        raise SetupError(f"the server of the pages ended with code {code}", f"See {log}")

    return pages


def _environment() -> dict[str, str]:
    """What the server inherits: where things are, and how its database and a sandbox engine are reached."""
    return {name: value for name, value in os.environ.items() if name in _ENVIRONMENT or name.startswith(_PREFIXES)}


async def _ended(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def main(campaign_id: str, host: str, descriptor: int, told: IO[bytes]) -> None:
    """Serve until SIGTERM, or until the controller is no more."""
    from aar.campaign.runtime.file_descriptors import raise_open_file_limit
    from aar.cli.context import open_context
    from aar.cli.output.log_setup import configure_logging
    from aar.web.app import create_app
    from aar.web.serving.server import serve_app

    raise_open_file_limit()
    os.nice(_NICE)
    links = LoginLinks()
    links.import_pending(json.loads(told.readline() or b"[]"))
    exit_with_parent(told)
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    with open_context(None) as workplace, configure_logging(None, workplace.settings.log_level):
        home = workplace.settings.home
        app = create_app(workplace.database, home=home, campaign_id=campaign_id, host=host, login_links=links)
        asyncio.run(serve_app(app, listener, handle_signals=True))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.stdin.buffer)
