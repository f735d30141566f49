"""Manages the offline model server's process: starts, restarts and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import AsyncIterator

import structlog

from aar.errors import SetupError

START_SECONDS = 30.0
"""Longest start before it is abandoned; a start takes well under a second on an idle machine."""
MAX_RESTARTS = 3
_STOP_SECONDS = 3.0

_log = structlog.get_logger(__name__)


class _Server:
    """One server process.

    It has the read end of a pipe whose write end only this process has.
    """

    def __init__(self, process: asyncio.subprocess.Process, base_url: str, last_lines: deque[str]) -> None:
        self.process = process
        self.base_url = base_url
        self._last_lines = last_lines
        self._drains: list[asyncio.Task[None]] = []

    @classmethod
    async def start(cls, seed: int, port: int) -> _Server:
        # A session of its own: Ctrl-C on the terminal pauses the campaign, which still needs its model for a moment.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aar.researcher.offline", "--port", str(port), "--seed", str(seed)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        server = cls(process, "", deque(maxlen=20))
        server._drains.append(asyncio.create_task(_drain(process.stderr, server._last_lines)))
        try:
            async with asyncio.timeout(START_SECONDS):
                line = (await process.stdout.readline()).decode()
        except TimeoutError:
            line = ""
        except asyncio.CancelledError:
            await server.stop()
            raise
        if not line.startswith("listening on "):
            await server.stop()
            raise SetupError(
                f"the offline model server did not start: {server.last_words()}",
                "Run `python -m aar.researcher.offline` by hand to see why",
            )
        server.base_url = line.removeprefix("listening on ").strip()
        server._drains.append(asyncio.create_task(_drain(process.stdout, server._last_lines)))
        return server

    @property
    def port(self) -> int:
        return int(self.base_url.rsplit(":", 1)[1])

    def last_words(self) -> str:
        return " | ".join(self._last_lines) or f"exit code {self.process.returncode}"

    async def stop(self) -> None:
        """End the process: close its standard input, and kill it if that takes long."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self.process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        await asyncio.gather(*self._drains)


async def _drain(stream: asyncio.StreamReader, into: deque[str]) -> None:
    while line := await stream.readline():
        into.append(line.decode(errors="replace").rstrip())


@contextlib.asynccontextmanager
async def run_offline_server(seed: int) -> AsyncIterator[str]:
    """Run the offline model server as a process of its own.

    Yield its base URL.

    The server ends with the context, and also when this process dies in any way: its standard input then closes. It has
    no state, so one that dies early is restarted on the same port, up to ``MAX_RESTARTS`` times.

    Args:
        seed: seed of every decision of the researchers it plays.

    Raises:
        SetupError: it did not start.
    """
    running = await _Server.start(seed, 0)
    base_url = running.base_url

    async def keep_up() -> None:
        nonlocal running
        for restart in range(MAX_RESTARTS + 1):
            await running.process.wait()
            words = running.last_words()
            await running.stop()
            if restart == MAX_RESTARTS:
                break
            _log.warning("the offline model server ended and is started again", last_words=words)
            running = await _Server.start(seed, int(base_url.rsplit(":", 1)[1]))
        _log.error("the offline model server keeps ending; the campaign cannot go on without it", last_words=words)

    keeper = asyncio.create_task(keep_up())
    try:
        yield base_url
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await running.stop()
