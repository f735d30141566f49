"""What commands print where a terminal is narrow, lacks characters, is closed, full, or no longer read."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer

from aar.cli.app import app

from ..conftest import Terminal

_WITH_WORDS = {
    "list": [],
    "status": [],
    "leaderboard": [],
    "submissions": ["s14"],
    "costs": [],
    "transcript": ["r2"],
    "events": [],
    "forum list": [],
    "forum show": ["5"],
    "forum search": ["zero-shot"],
    "forum claims": [],
    "audit show": ["s14"],
    "problem list": [],
    "problem show": ["weak_to_strong"],
    "sandbox list": [],
    "spec example": [],
    "spec schema": [],
}


def _commands() -> list[str]:
    """Every command by its words."""

    def walk(command: object, words: tuple[str, ...]) -> list[str]:
        inside = getattr(command, "commands", None)
        if inside is None:
            return [" ".join(words)]
        return [each for name, one in inside.items() for each in walk(one, (*words, name))]

    return walk(typer.main.get_command(app), ())


def _run(terminal: Terminal, *words: str, shell: str = '"$@"', **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, "-m", "aar", *words],
        env=terminal.env | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("words", _commands())
def test_help_of_every_command_fits_a_narrow_screen(
    empty: Terminal, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    said = empty.ok(*words.split(), "--help")
    assert "Usage: aar" in said


@pytest.mark.parametrize("words", _WITH_WORDS)
def test_what_is_read_stays_legible_on_a_narrow_terminal_of_ascii(terminal: Terminal, words: str) -> None:
    done = _run(terminal, *words.split(), *_WITH_WORDS[words], COLUMNS="20", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    assert done.stdout.isascii()


def test_marks_that_a_terminal_lacks_are_written_with_what_it_has(terminal: Terminal) -> None:
    said = _run(terminal, "status", PYTHONIOENCODING="ascii").stdout
    assert b"+/-" in said
    assert b"####" in said
    assert rb"\u" not in said
    old = _run(terminal, "status", PYTHONIOENCODING="cp437")
    assert old.returncode == 0
    assert "±" in old.stdout.decode("cp437")


@pytest.mark.parametrize(
    ("words", "closed"), [("status", ">&-"), ("list", "<&- >&- 2>&-"), ("nonsense", "2>&-"), ("--help", ">&-")]
)
def test_closed_streams_keep_nothing_from_ending_in_order(terminal: Terminal, words: str, closed: str) -> None:
    before = (terminal.home / "aar.db").read_bytes()[:16]
    done = _run(terminal, words, shell=f'"$@" {closed}')
    assert done.returncode == (2 if words == "nonsense" else 0), done.stderr
    assert b"Traceback" not in done.stdout + done.stderr
    assert (terminal.home / "aar.db").read_bytes()[:16] == before == b"SQLite format 3\0"


@pytest.mark.parametrize("words", [["list"], ["events", "--last", "0"], ["status"], ["spec", "schema"], ["--help"]])
def test_a_reader_that_goes_away_ends_it_quietly(terminal: Terminal, words: list[str]) -> None:
    done = _run(terminal, *words, shell='"$@" | true; exit ${PIPESTATUS[0]}', PYTHONUNBUFFERED="1")
    assert done.returncode in (0, 1)
    assert done.stderr == b""


def test_a_reader_that_has_read_enough(terminal: Terminal) -> None:
    shell = '"$@" | { read -r line; echo "$line"; exec <&-; sleep 0.01; }; exit ${PIPESTATUS[0]}'
    done = _run(terminal, "events", "--last", "0", "--json", shell=shell, PYTHONUNBUFFERED="1")
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout.startswith(b"{")


def test_output_that_cannot_be_written_is_said_in_one_line(terminal: Terminal) -> None:
    drawn = _run(terminal, "list", shell='"$@" > /dev/full')
    assert (drawn.returncode, drawn.stderr.splitlines()[0]) == (3, b"error: the disk is full: cannot write")
    buffered = _run(terminal, "spec", "example", shell='"$@" > /dev/full')
    assert buffered.returncode in (1, 3)
    for done in (drawn, buffered):
        assert done.stderr.startswith(b"error: ")
        assert b"Traceback" not in done.stderr


def test_what_is_typed_may_not_be_text(terminal: Terminal) -> None:
    for words in (("status", "$'\\xff'"), ("transcript", "r$'\\xff'")):
        done = _run(terminal, shell=f'"$@" {" ".join(words)}')
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(b"error: "), done.stderr
        assert done.stderr.count(b"\n") <= 2


@pytest.mark.parametrize(
    "words",
    [
        ("events", "--after", "9" * 30),
        ("events", "--last", "9" * 30),
        ("list", "-n", "9" * 30),
        ("leaderboard", "-n", "9" * 30),
        ("submissions", "9" * 30),
        ("forum", "show", "9" * 30),
        ("status", "é"),
        ("status", "k\n"),
    ],
)
def test_numbers_and_ids_that_cannot_be(terminal: Terminal, words: tuple[str, ...]) -> None:
    done = terminal.run(*words)
    assert done.exit_code == 2, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_the_largest_cursor_is_one(terminal: Terminal) -> None:
    assert terminal.ok("events", "--after", str(2**63 - 1)) == ""


def test_a_closed_stream_is_not_where_the_next_file_is_opened() -> None:
    said = subprocess.run(
        ["bash", "-c", '"$@" >&- <&-', "bash", sys.executable, "-c", _OPENS],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert int(said.stderr) > 2


_OPENS = """
import os, sys
from aar.cli.output import streams
streams.prepare_streams()
print("lost")
print(os.open("/dev/null", os.O_RDONLY), file=sys.stderr)
"""


def test_what_is_logged_stays_out_of_what_a_command_prints(empty: Terminal) -> None:
    away = {"DOCKER_HOST": "unix:///nonexistent", "AAR_DOCKER_HOST": ""}
    done = _run(empty, "sandbox", "prune", "--json", **away, AAR_LOG_LEVEL="info")
    assert json.loads(done.stdout) == {"removed": [], "left": {}}
    assert b"a sandbox backend does not answer" in done.stderr
    quiet = _run(empty, "sandbox", "prune", "--json", **away)
    assert (json.loads(quiet.stdout), quiet.stderr) == ({"removed": [], "left": {}}, b"")
