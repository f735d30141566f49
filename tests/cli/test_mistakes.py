"""Whatever a person gets wrong ends in one line and a remedy, with an exit code that says whose mistake it was."""

import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import aar.problems.toy

from .conftest import Terminal


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def _refused(terminal: Terminal, code: int, *arguments: str) -> str:
    done = terminal.process(*arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr


def test_a_spec_that_does_not_hold(empty: Terminal, tmp_path: Path) -> None:
    spec = tmp_path / "campaign.yaml"
    assert "no spec file" in _refused(empty, 2, "start", str(spec))
    spec.write_text("limits: {usdd: 3}")
    assert "no field limits.usdd; did you mean usd?" in _refused(empty, 2, "start", str(spec))
    spec.write_text("a: [")
    assert "is not YAML" in _refused(empty, 2, "spec", "validate", str(spec))
    spec.write_text("researchers: {model: claude-nobody-9, base_url: 'http://127.0.0.1:9'}")
    said = _refused(empty, 2, "spec", "validate", str(spec))
    assert "no price is known for model claude-nobody-9" in said
    assert "`prices:`" in said


def test_a_problem_without_a_brief_is_refused_before_the_start(empty: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(Path(aar.problems.toy.__file__).parent, folder)
    (folder / "brief.md").unlink()
    result = empty.run("start", "--no-serve", "--problem", str(folder))
    assert result.exit_code == 1
    assert "problem toy: brief raised FileNotFoundError (problem.py:" in result.stderr
    assert "aar problem validate" in result.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--usd", "lots"], "limits.usd"),
        (["--researchers", "0"], "researchers.count"),
        (["--sandbox", "chroot"], "sandbox.backend"),
        (["--deal", "random"], "directions.deal"),
        (["--problem", "week_to_strong"], "no problem named 'week_to_strong'"),
        (["--directions", "/nowhere.yaml"], "no directions file /nowhere.yaml"),
        (["--model", "claude-opus-5-5"], "needs a key and ANTHROPIC_API_KEY is not set"),
        (["--researchers", "400"], "400 researchers need 400 distinct directions"),
        (["--database", "nonsense"], "database URL is invalid"),
    ],
)
def test_flags_that_do_not_hold(empty: Terminal, flags: list[str], message: str) -> None:
    result = empty.run("start", "--no-serve", *flags)
    assert result.exit_code in (2, 3)
    assert message in result.stderr
    assert "→" in result.stderr
    assert not (empty.home / "campaigns").exists()


def test_a_taken_port_costs_nothing(empty: Terminal, taken_port: int) -> None:
    said = _refused(empty, 3, "start", "--port", str(taken_port))
    assert f"port {taken_port} of 127.0.0.1 is in use" in said
    assert empty.json("list") == []


def test_serve_on_a_taken_port(terminal: Terminal, taken_port: int) -> None:
    assert "is in use" in _refused(terminal, 3, "serve", "--port", str(taken_port))


def test_a_file_that_is_no_database(empty: Terminal) -> None:
    empty.home.mkdir()
    (empty.home / "aar.db").write_bytes(b"not a database at all" * 100)
    said = _refused(empty, 3, "list")
    assert "database" in said


def test_a_database_of_a_newer_program(writable: Terminal) -> None:
    with sqlite3.connect(writable.home / "aar.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    said = _refused(writable, 3, "status")
    assert "→" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "AAR_HOME" in _refused(Terminal(tmp_path / "home"), 3, "list")


def test_no_unlimited_spending_without_a_word(empty: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-none")
    result = empty.run("start", "--usd", "none", "--no-serve", "--model", "claude-sonnet-5-5")
    assert "no limit in dollars" in result.output
    assert result.exit_code == 2
    assert "Set --usd N, or agree with --yes" in result.stderr
    assert empty.json("list") == []
