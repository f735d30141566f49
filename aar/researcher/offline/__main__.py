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
        print(f"listening on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        asyncio.run(_serve(listening, arguments.seed))
    return 0


def _listen(port: int) -> socket.socket:
    # Naming TCP has asyncio send at once: otherwise answers of several writes wait 40 ms for an acknowledgement.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise PortTaken(
            f"cannot listen on 127.0.0.1:{port} ({error.strerror})", "Choose another --port, or 0"
        ) from error
    return listening


async def _serve(listening: socket.socket, seed: int) -> None:
    app = make_app(SearchPolicy(seed).next_turn)
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=60,
    )
    server = uvicorn.Server(config)
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
