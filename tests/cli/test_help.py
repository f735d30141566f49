import json
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.main import get_group

import aar
from aar.cli.app import app
from aar.cli.command_group import LazyGroup

from .conftest import Terminal

COMMANDS = [
    *(["start"], ["resume"], ["pause"], ["stop"], ["list"], ["status"], ["leaderboard"], ["submissions"], ["costs"]),
    *(["events"], ["report"], ["serve"], ["doctor"], ["transcript"], ["mcp"]),
    *(["audit", each] for each in ("show", "confirm", "disqualify", "reinstate")),
    *(["spec", each] for each in ("validate", "schema", "example")),
    *(["forum", each] for each in ("list", "show", "search", "post", "comment")),
    *(["problem", each] for each in ("list", "show", "baselines", "validate", "fetch")),
    *(["mcp", each] for each in ("invite", "revoke")),
    *(["sandbox", each] for each in ("build", "list", "prune", "shell", "stats")),
]
READING = [["list"], ["status"], ["leaderboard"], ["submissions"], ["costs"], ["events"], ["report"], ["doctor"]]
READING.append(["transcript"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(empty: Terminal, command: list[str]) -> None:
    said = empty.ok(*command, "--help")
    assert f"Usage: aar {' '.join(command)}" in said
    assert said.splitlines()[2].strip()


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_every_reading_command_speaks_json(empty: Terminal, command: list[str]) -> None:
    assert "--json" in empty.ok(*command, "--help")


def test_first_page_fits_its_lines(empty: Terminal) -> None:
    said = empty.ok("--help")
    assert "Run a campaign:" in said
    assert "..." not in said.replace("[ARGS]...", "")


def test_version(empty: Terminal) -> None:
    assert empty.ok("--version") == f"aar {aar.__version__}\n"


@pytest.mark.parametrize(
    ("typed", "meant"), [(["strat"], "start"), (["forum", "serch"], "search"), (["status", "--jsno"], "--json")]
)
def test_a_slip_is_answered_by_what_was_meant(empty: Terminal, typed: list[str], meant: str) -> None:
    result = empty.run(*typed)
    assert result.exit_code == 2
    assert meant in result.stderr


def test_the_table_holds_the_help_of_every_command() -> None:
    def check(group: Any) -> int:
        context = typer.Context(group)
        checked = 0
        for entry in group.entries:
            _, command, _ = group.resolve_command(context, [entry.name])
            assert command.get_short_help_str(200) == entry.help
            checked += 1 + (check(command) if isinstance(command, LazyGroup) else 0)
        return checked

    assert check(get_group(app)) > 40


@pytest.mark.parametrize(
    "group", [[], ["audit"], ["forum"], ["problem"], ["sandbox"], ["spec"], ["team"]], ids=" ".join
)
def test_help_of_a_group_loads_no_command(group: list[str]) -> None:
    loaded = _modules_after(*group, "--help")
    heavy = {"pydantic", "sqlalchemy", "fastapi", "anthropic", "numpy", "docker", "structlog", "rich", "asyncio"}
    heavy -= {"pydantic", "asyncio"} if group else set()  # typer itself reads the root's options with pydantic
    assert not heavy & loaded
    ours = {name for name in loaded if name.startswith("aar.cli.")}
    assert ours == {f"aar.cli.{name}" for name in ("app", "command_group", "output", "output.streams")}


def test_a_wrong_spec_does_not_wait_for_the_server() -> None:
    assert not {"fastapi", "aar.cli.running.run_campaign"} & _modules_after("start", "/nonexistent.yaml")


def test_a_server_for_mcp_clients_is_not_loaded_for_help() -> None:
    assert "mcp" not in _modules_after("mcp", "invite", "--help")


def _modules_after(*arguments: str) -> set[str]:
    code = (
        "import sys, json; from aar.cli.app import app\n"
        f"try: app({list(arguments)!r}, prog_name='aar')\n"
        "except SystemExit: print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_shell_completion_names_commands_and_campaigns(terminal: Terminal) -> None:
    def completed(line: str) -> str:
        env = terminal.env | {"_AAR_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        code = "from aar.cli import main; main()"
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout

    assert "leaderboard" in completed("aar lea")
    assert "k3v9qd" in completed("aar status k3")
