"""Every command that the documentation shows is run, or at least understood.

Commands in ``sh`` blocks are run page by page, in order, in a folder of their own; ``aar start`` gets flags on top that
make it a matter of seconds, and one campaign serves the pages that only read. Commands in running text are parsed by
the real command line.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from aar.cli.app import app

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
LONGEST_SECONDS = 300
QUICK = (
    "--researchers 2 --submissions 2 --tokens none --hours 0.05 --seeds 1 --plain --no-serve --yes "
    "--model offline-search --sandbox bubblewrap"
)
ELSEWHERE = {
    "scripts/test": "it is what runs this test",
    "curl -N": "it ends never; tests/web/test_stream.py reads the same stream",
    "pip install": "it downloads; .ci/run installs the same packages",
    "python -m aar.problems.weak_to_strong.builder": "it encodes for minutes; tests/problems rebuilds a sample",
    "aar problem fetch": "it downloads; tests/problems fetches from a package on disk",
    "git log -1 | aar forum comment 12": "post 12 is somebody else's; tests/cli comments on its own",
    "scripts/run": "it installs; tests/docs/test_scripts.py runs it",
}
"""Commands that are not run here, by how they begin, and why."""


def _blocks(page: Path) -> list[str]:
    found = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = "".join(found).replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"\s+#.*", "", line).strip() for line in lines) if line]


def _mentions() -> list[tuple[str, str]]:
    return sorted(
        {
            (page.name, command)
            for page in PAGES
            for command in re.findall(r"`(aar [a-z-][^`\n]*)`", page.read_text(encoding="utf-8"))
        }
    )


@pytest.fixture(scope="session")
def finished_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home in which the commands of the page on steering ran a campaign; whoever writes takes a copy."""
    folder = tmp_path_factory.mktemp("finished")
    _run_all(_blocks(REPOSITORY / "docs" / "steering.md"), folder)
    return folder / "home"


@pytest.mark.slow(together=True)
@pytest.mark.bubblewrap
@pytest.mark.parametrize("page", ["steering", "cli", "spec"])
def test_a_pages_commands_run_over_a_finished_campaign(page: str, finished_home: Path, tmp_path: Path) -> None:
    """All but ``aar start``, which is only parsed: `test_a_pages_commands_run` starts every campaign, at night."""
    shutil.copytree(finished_home, tmp_path / "home")
    commands = _blocks(REPOSITORY / "docs" / f"{page}.md")
    for command in commands:
        if command.startswith("aar start"):
            assert not _unknown_parts(command), command
    _run_all([command for command in commands if not command.startswith("aar start")], tmp_path)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.bubblewrap
@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in PAGES if _blocks(page)])
def test_a_pages_commands_run(page: Path, tmp_path: Path) -> None:
    _run_all(_blocks(page), tmp_path)


def _run_all(commands: list[str], folder: Path) -> None:
    """Run commands in order, with the folder's ``home`` as AAR_HOME."""
    environment = {key: value for key, value in os.environ.items() if key != "ANTHROPIC_API_KEY"}
    environment |= {
        "AAR_HOME": str(folder / "home"),
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "GIT_DIR": str(REPOSITORY / ".git"),
    }
    work = folder / "work"
    work.mkdir()
    for command in commands:
        if command.startswith(tuple(ELSEWHERE)):
            continue
        ran = subprocess.run(
            ["bash", "-ec", _quick(command)],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}"
        assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(("page", "command"), _mentions())
def test_a_mentioned_command_exists(page: str, command: str) -> None:
    """The command is one of ours and knows the options shown; words in capitals, dots and brackets are placeholders."""
    assert not _unknown_parts(command), f"{page}: `{command}`"


def _unknown_parts(command: str) -> list[str]:
    """Words that are neither a command nor an option of one."""
    words = [word for word in shlex.split(command.replace("[", " ").replace("]", " "))[1:] if word != "..."]
    found = typer.main.get_command(app)
    while words and words[0] in getattr(found, "commands", {}):
        _, found, words = found.resolve_command(typer.Context(found), words)  # type: ignore[attr-defined]
    if getattr(found, "commands", None) and words and not words[0].startswith("-"):
        return words[:1]
    known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "--version", "--install-completion", "--show-completion"}
    return [word for word in words if word.startswith("-") and word.split("=")[0].rstrip(",") not in known]


def test_what_is_not_run_here_is_still_shown_somewhere() -> None:
    shown = [command for page in PAGES for command in _blocks(page)]
    for start in ELSEWHERE:
        assert any(command.startswith(start) for command in shown), f"drop {start} from ELSEWHERE"


def _quick(command: str) -> str:
    if not command.startswith("aar start"):
        return command
    problem = "" if "--problem" in command else " --problem toy"
    return f"{command}{problem} {QUICK}"
