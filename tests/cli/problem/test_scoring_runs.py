import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aar.redteam import SUBMISSIONS

from ..conftest import Terminal

pytestmark = pytest.mark.bubblewrap
ATTACK = ("problem", "attack", "toy", "--sandbox", "bubblewrap", "--submissions", "4", "--seeds", "2")


def test_the_table_and_its_json_twin(empty: Terminal) -> None:
    said = empty.process(*ATTACK, "--only", "edited-claims", "--only", "single-flips")
    assert said.returncode == 0, said.stderr
    assert "frozen at submission" in said.stdout
    assert "not open to it: its outputs are not one value a test item" in said.stdout
    assert "2 attacks on R2 of toy, all held" in said.stdout
    twin = empty.process(*ATTACK, "--only", "edited-claims", "--json")
    (shown,) = json.loads(twin.stdout)
    assert (shown["name"], shown["held"], shown["result"]["through"]) == ("edited-claims", True, [])


def test_mistakes_are_named(empty: Terminal) -> None:
    said = empty.process(*ATTACK, "--only", "edit-claims")
    assert said.returncode != 0
    assert "unknown attack: got 'edit-claims'" in said.stderr
    assert "no baseline 'best'" in empty.process(*ATTACK, "--base", "best").stderr


def test_the_help_names_the_default(empty: Terminal) -> None:
    assert f"default: {SUBMISSIONS}" in " ".join(empty.ok("problem", "attack", "--help").split())


def test_ctrl_c_leaves_nothing_behind(empty: Terminal, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    env = empty.env | {"TMPDIR": str(scratch)}
    running = subprocess.Popen(
        [sys.executable, "-m", "aar", *ATTACK], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        while not list(scratch.glob("aar-attack-*/*/runs/*")):
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode not in (0, -signal.SIGKILL)
    assert list(scratch.glob("aar-attack-*")) == []
    assert [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(scratch) in _read(path)] == []


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
