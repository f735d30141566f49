"""Real campaigns in processes of their own, on the small problem, as a person at a terminal sees them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .conftest import Terminal

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]

_PATIENCE = 60.0


class Screen:
    """A process on a pseudo-terminal of 140 by 45."""

    def __init__(self, terminal: Terminal, *arguments: str) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aar", *arguments],
            env=terminal.env | {"COLUMNS": "140", "LINES": "45", "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)

    def wait_for(self, pattern: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not re.search(pattern, self.shown):
            assert self._read(deadline), f"ended, or too long, without {pattern}: {self.shown[-3000:]}"

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        deadline = time.monotonic() + _PATIENCE
        while self._read(deadline):
            pass
        return self._process.wait(timeout=30)

    def hang_up(self) -> int:
        os.close(self._master)
        self._master = -1
        return self._process.wait(timeout=_PATIENCE)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # how Linux says that the other end is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # even where the tests themselves run under nohup


@pytest.fixture
def screen(empty: Terminal, quick_spec: Path) -> Iterator[Screen]:
    """Of a campaign with more to do than it has time for."""
    made = Screen(empty, "start", str(quick_spec), "--researchers", "2", "--submissions", "200")
    yield made
    made.close()


def test_lines_for_pipes(empty: Terminal, quick_spec: Path) -> None:
    done = empty.process("start", str(quick_spec), timeout=_PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for part in ("not an LLM", "controller started", "-- campaign finished: ", "cost: $0.00", "next: aar "):
        assert part in done.stdout
    assert "\x1b" not in done.stdout
    found = empty.json("status")
    assert found["state"] == "finished"
    assert Path(re.search(r"^report: (.*)$", done.stdout, re.MULTILINE)[1]).exists()  # type: ignore[index]
    assert empty.json("sandbox", "list") == []


def test_the_live_view_pauses_on_ctrl_c_and_resumes(empty: Terminal, screen: Screen) -> None:
    screen.wait_for(r"http://127\.0\.0\.1:\d+")
    screen.wait_for(r"idea diversity")
    address = re.search(r"http://127\.0\.0\.1:\d+", screen.shown)[0]  # type: ignore[index]
    got = httpx.get(f"{address}/api/v1/campaigns", timeout=_PATIENCE)  # the pages begin after the campaign
    assert got.json()["items"][0]["state"] == "running"
    link = re.search(r"http://127\.0\.0\.1:\d+/login/once\?code=[\w.-]+", screen.shown)[0]  # type: ignore[index]
    assert httpx.get(link, timeout=_PATIENCE).status_code == 303
    screen.type(b"\x03")
    assert screen.end() == 0, screen.shown[-3000:]
    assert "^C" not in screen.shown
    assert "paused: paused by Ctrl-C" in screen.shown
    identifier = re.search(r"aar resume (\w+)", screen.shown)[1]  # type: ignore[index]
    paused = empty.json("status")
    assert (paused["id"], paused["state"]) == (identifier, "paused")

    again = empty.process("resume", identifier[:3], "--submissions", "1", "--no-serve", timeout=_PATIENCE)
    assert again.returncode == 0, again.stderr
    assert "campaign created" not in again.stdout
    assert again.stdout.count("controller started") == 1
    assert empty.json("status")["state"] == "finished"


def test_a_terminal_that_hangs_up_pauses_it(empty: Terminal, screen: Screen) -> None:
    screen.wait_for(r"idea diversity")
    code = screen.hang_up()
    found = empty.json("status")
    assert (found["state"], found["cause"]) == ("paused", "paused by a hangup of the terminal")
    assert code == 0
    assert found["controller"] == "none"
    assert (empty.home / "campaigns" / found["id"] / "report.html").exists()
    assert empty.json("sandbox", "list") == []


def test_a_killed_controller_is_named(empty: Terminal, screen: Screen) -> None:
    screen.wait_for(r"idea diversity")
    screen.close()
    assert "running, no controller since" in empty.ok("status")
    assert "running, no controller since" in empty.ok("list")
    found = empty.json("status")
    assert (found["state"], found["controller"]) == ("running", "lost")
    assert any("aar resume" in each["text"] for each in found["alerts"])
    assert empty.process("sandbox", "prune").returncode == 0  # what was killed leaves its sandboxes mounted


def test_another_terminal_stops_it(empty: Terminal, quick_spec: Path) -> None:
    options = ["--submissions", "200", "--no-serve", "--plain"]
    arguments = [sys.executable, "-m", "aar", "start", str(quick_spec), *options]
    with subprocess.Popen(arguments, env=empty.env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            next(line for line in running.stdout if "controller started" in line)
            taken = empty.process("resume", "--no-serve")
            assert taken.returncode == 1
            assert "is run by another controller" in taken.stderr
            asked = empty.ok("stop", "--reason", "seen enough")
            assert "asked" in asked
            assert "confirmed first" in asked
            rest = running.stdout.read()
            assert running.wait(timeout=_PATIENCE) == 0
        finally:
            running.kill()
    assert "seen enough" in rest
    assert empty.json("status")["state"] == "finished"
    followed = empty.process("events", "--follow", "-n", "2")
    assert "campaign finished" in followed.stdout.splitlines()[-1]


def test_serve_until_ctrl_c(terminal: Terminal) -> None:
    arguments = [sys.executable, "-m", "aar", "serve", "--port", "0"]
    with subprocess.Popen(arguments, env=terminal.env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            address = running.stdout.readline().split()[0]
            assert "to act, log in at /login" in running.stdout.readline()
            assert httpx.get(f"{address}/api/v1/campaigns/latest").json()["id"] == "k3v9qd"
            line = running.stdout.readline()
            assert "logs you in, once" in line
            with httpx.Client(base_url=address, follow_redirects=True) as person:
                assert "log out" in person.get(line.split()[0]).text
                assert person.get("/campaigns/k3v9qd/report").status_code == 200
            assert httpx.get(line.split()[0]).status_code == 401
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=60) in (0, 130)
        finally:
            running.kill()
