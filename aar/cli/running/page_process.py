"""The page process of a running campaign, started and stopped with the controller.

A crash there, connections without end or a page that is slow to draw cost the campaign no descriptor, no turn of its
event loop and no ending: the controller starts the process again.

It answers everyone who reaches its port, so it inherits no API key and nothing else that its pages do not need. A
campaign that is started from a page finds credentials in files only, such as the one that
``AAR_ANTHROPIC_API_KEY_FILE`` names.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys

from aar.campaign.controller.controller import CampaignCompanion, RunningCampaign
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


def serve_pages(host: str, listener: socket.socket) -> CampaignCompanion:
    """Return a companion that runs a page server process on a listening socket.

    Args:
        host: the address listened on.
        listener: from ``bind_listener``; stays open in this process, so that a restart has the same port.
    """

    async def pages(running: RunningCampaign) -> None:
        settings = running.plan.settings
        log = settings.campaign_dir(running.campaign_id) / "pages.log"
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "aar.cli.serve",
                running.campaign_id,
                host,
                str(listener.fileno()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
                env=_environment() | {"AAR_HOME": str(settings.home), "AAR_DATABASE": running.database.url},
                pass_fds=(listener.fileno(),),
                start_new_session=True,  # the controller handles a Ctrl-C at the terminal
            )
        assert process.stdin is not None
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                await asyncio.shield(asyncio.ensure_future(_ended(process)))
            process.stdin.close()
        raise SetupError(f"page server ended: got exit code {code}", f"See {log}")

    return pages


def _environment() -> dict[str, str]:
    """Return the variables that the server inherits: paths, database and sandbox engine."""
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
