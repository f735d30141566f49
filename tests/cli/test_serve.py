"""The pages of a running campaign come from a process of their own: it may die, and the campaign goes on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ..waiting import block_until
from .conftest import Terminal

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]

_PATIENCE = 60.0
_ARGUMENTS = (
    "--problem", "toy", "-n", "1", "--hours", "1", "--sandbox", "bubblewrap", "--plain", "--port", "0",
    "--model", "offline-search",
)  # fmt: skip


def test_a_server_that_dies_is_started_again_and_ends_with_its_controller(empty: Terminal) -> None:
    command = [sys.executable, "-m", "aar", "start", *_ARGUMENTS]
    secrets = {"ANTHROPIC_API_KEY": "sk-ant-example", "AWS_SECRET_ACCESS_KEY": "example", "SENTRY_DSN": "example"}
    with subprocess.Popen(
        command, env=empty.env | secrets | {"PGTZ": "UTC"}, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        try:
            line = next(line for line in running.stdout if "http://" in line)
            address = re.search(r"http://127\.0\.0\.1:\d+", line)[0]  # type: ignore[index]
            assert _state(address) == "running"
            [first] = _servers(empty.home)
            assert running.pid != first
            inherited = _environment(first)
            assert {"PATH", "AAR_HOME", "AAR_DATABASE", "PGTZ"} <= inherited.keys()
            assert not secrets.keys() & inherited.keys()
            assert _environment(running.pid).items() >= secrets.items()
            subprocess.run(["kill", "-9", str(first)], check=True)
            block_until(lambda: [each for each in _servers(empty.home) if each != first])
            assert _state(address) == "running"
            assert "started again" in empty.ok("events", "-n", "400")
        finally:
            running.send_signal(signal.SIGKILL)
            running.communicate()
    block_until(lambda: not _servers(empty.home))  # no signal reached it
    assert empty.process("stop").returncode == 0
    assert empty.process("sandbox", "prune").returncode == 0


def _state(address: str) -> str:
    got = httpx.get(f"{address}/api/v1/campaigns", timeout=_PATIENCE)
    return str(got.json()["items"][0]["state"])


def _environment(pid: int) -> dict[str, str]:
    content = Path(f"/proc/{pid}/environ").read_bytes().decode()
    return dict(each.split("=", 1) for each in content.split("\0") if each)


def _servers(home: Path) -> list[int]:
    found = []
    for place in Path("/proc").iterdir():
        try:
            line = (place / "cmdline").read_bytes()
            environment = (place / "environ").read_bytes()
        except OSError:
            continue
        if b"aar.cli.serve" in line and f"AAR_HOME={home}".encode() in environment:
            found.append(int(place.name))
    return found
