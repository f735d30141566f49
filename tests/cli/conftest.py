"""A home folder with an example campaign that real services wrote, and ways to run commands over it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from aar.cli.app import app
from aar.settings import Settings, get_settings
from aar.store import open_database
from aar.store.database import Database

from ..example_copies import ExampleCopies


@dataclass(frozen=True, slots=True)
class Terminal:
    """Runs ``aar`` over one home folder."""

    home: Path

    @property
    def env(self) -> dict[str, str]:
        """Environment of a real process: this home, no key, a wide screen without colour."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("AAR_", "ANTHROPIC"))}
        return clean | {"AAR_HOME": str(self.home), "COLUMNS": "160", "NO_COLOR": "1", "TZ": "UTC"}

    def run(self, *arguments: str, input: str | None = None) -> Result:
        """Run in this process; quicker."""
        return CliRunner().invoke(app, list(arguments), input=input, prog_name="aar")

    def ok(self, *arguments: str, input: str | None = None) -> str:
        """Run, insist on success, and return standard output."""
        result = self.run(*arguments, input=input)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str) -> Any:
        """What a command prints with ``--json``."""
        return json.loads(self.ok(*arguments, "--json"))

    def process(
        self, *arguments: str, input: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "aar", *arguments],
            env=self.env,
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def database(self) -> Database:
        """The database of this home; the caller closes it."""
        return open_database(Settings(home=self.home).database_url)


@pytest.fixture(scope="session")
def written_home(example_copies: ExampleCopies, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the example campaign ``k3v9qd``; tests that write take a copy."""
    home = tmp_path_factory.mktemp("home")
    example_copies.copy(home)
    return home


@pytest.fixture
def terminal(written_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Commands over the example campaign; only for reading."""
    yield from _terminal(written_home, monkeypatch)


@pytest.fixture
def writable(written_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Commands over a copy of the example campaign."""
    home = tmp_path / "home"
    home.mkdir()
    for file in written_home.glob("aar.db*"):
        (home / file.name).write_bytes(file.read_bytes())
    yield from _terminal(home, monkeypatch)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Commands over a home where nothing has run yet."""
    yield from _terminal(tmp_path / "home", monkeypatch)


def _terminal(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    for name in ("AAR_DATABASE", "ANTHROPIC_API_KEY", "AAR_DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AAR_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "160")
    get_settings.cache_clear()
    yield Terminal(home)
    get_settings.cache_clear()
