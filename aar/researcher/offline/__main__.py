"""The offline model server's process: ``python -m aar.researcher.offline --port 0 --seed 1``.

It prints its address, and ends when its standard input closes, so that it cannot outlive the program at the other end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import threading

import uvicorn

from aar.errors import AarError, PortTaken
from aar.researcher.offline.model_server import make_app
from aar.researcher.offline.policy import SearchPolicy
from aar.testing.fake_messages_api.local_server import base_url_of, listen_on_loopback, server_config


def main() -> int:
    """Serve until standard input closes or a signal requests a stop.

    Return the exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m aar.researcher.offline", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--seed", type=int, default=0, help="seed of every decision")
    arguments = parser.parse_args()
    try:
        listening = _listen(arguments.port)
    except AarError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    with listening:
        print(f"listening on {base_url_of(listening)}", flush=True)
        asyncio.run(_serve(listening, arguments.seed))
    return 0


def _listen(port: int) -> socket.socket:
    try:
        return listen_on_loopback(port)
    except OSError as error:
        raise PortTaken(
            f"cannot listen on 127.0.0.1:{port} ({error.strerror})", "Choose another --port, or 0"
        ) from error


async def _serve(listening: socket.socket, seed: int) -> None:
    server = uvicorn.Server(server_config(make_app(SearchPolicy(seed).next_turn)))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True

    def watch_stdin() -> None:
        # os.read, not sys.stdin: a daemon thread inside a buffered reader can break the interpreter's shutdown.
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stop)

    threading.Thread(target=watch_stdin, daemon=True).start()
    await server.serve(sockets=[listening])


if __name__ == "__main__":
    sys.exit(main())
