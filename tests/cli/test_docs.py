"""docs/cli.md is true: every command stands in it, and JSON has the keys it promises."""

import json
import re
from pathlib import Path

import pytest

from .conftest import Terminal
from .test_help import COMMANDS

_DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
_CALLS = {
    "aar list": ["list"],
    "aar status": ["status"],
    "aar leaderboard": ["leaderboard"],
    "aar submissions": ["submissions"],
    "aar costs": ["costs"],
    "aar forum list": ["forum", "list"],
    "aar forum show": ["forum", "show", "1"],
    "aar report": ["report"],
}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_is_documented(command: list[str]) -> None:
    assert f"aar {' '.join(command)}" in _DOCS


@pytest.mark.parametrize("documented", _CALLS)
def test_json_has_the_documented_keys(terminal: Terminal, documented: str) -> None:
    [row] = [line for line in _DOCS.splitlines() if line.startswith(f"| `{documented}") and "s12" not in line][:1]
    promised = set(re.findall(r"`([a-z_]+)`", row.split("|")[3]))
    found = terminal.json(*_CALLS[documented])
    assert promised
    assert promised <= set(found[0] if isinstance(found, list) else found)


def test_event_lines_have_the_documented_keys(terminal: Terminal) -> None:
    [row] = [line for line in _DOCS.splitlines() if line.startswith("| `aar events")]
    promised = set(re.findall(r"`([a-z_]+)`", row.split("|")[3]))
    assert promised == set(json.loads(terminal.ok("events", "-n", "1", "--json")))
