"""The server's process: that it ends when it should, and only then."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from aar.errors import SetupError
from aar.researcher.offline import server_process
from aar.researcher.offline.server_process import run_offline_server

COMMAND = [sys.executable, "-m", "aar.researcher.offline", "--port", "0", "--seed", "1"]


def children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def wait_until_gone(pid: int) -> None:
    """Return when no such process runs any more."""
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.02)


async def answers(base_url: str) -> bool:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{base_url}/v1/models")).status_code == 200


def started() -> subprocess.Popen[str]:
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("listening on http://127.0.0.1:")
    return process


def test_it_ends_when_its_standard_input_closes() -> None:
    with started() as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_it_ends_on_sigterm() -> None:
    with started() as process:
        process.terminate()
        assert process.wait(timeout=30) in {0, -signal.SIGTERM}


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = subprocess.run([*COMMAND[:4], port], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 3
    assert port in result.stderr


@pytest.mark.anyio
async def test_the_context_leaves_no_process() -> None:
    before = set(children(os.getpid()))
    async with run_offline_server(seed=1) as base_url:
        (pid,) = set(children(os.getpid())) - before
        assert await answers(base_url)
    wait_until_gone(pid)


def test_a_killed_controller_takes_the_server_with_it() -> None:
    program = (
        "import asyncio\n"
        "from aar.researcher.offline.server_process import run_offline_server\n"
        "async def main():\n"
        "    async with run_offline_server(seed=1) as url:\n"
        "        print(url, flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline().startswith("http://127.0.0.1:")
        (server,) = children(controller.pid)
        controller.kill()
        controller.wait(timeout=30)
    wait_until_gone(server)


@pytest.mark.anyio
async def test_a_killed_server_comes_back_at_its_address() -> None:
    before = set(children(os.getpid()))
    async with run_offline_server(seed=1) as base_url:
        (pid,) = set(children(os.getpid())) - before
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert await answers(base_url)
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
    assert set(children(os.getpid())) == before


@pytest.mark.anyio
async def test_a_server_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process.sys, "executable", "/bin/false")
    with pytest.raises(SetupError, match="exit code 1"):
        async with run_offline_server(seed=1):
            pass
