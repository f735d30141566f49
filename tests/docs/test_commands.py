"""Every command that the documentation shows is run, or at least understood.

Commands in ``sh`` blocks are run page by page, in order, in a folder of their own; ``aar start`` gets flags on top that
make it a matter of seconds. Commands in running text are parsed by the real command line.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
LONGEST_SECONDS = 900
QUICK = (
    "--researchers 2 --submissions 2 --tokens none --hours 0.05 --seeds 2 --plain --no-serve --yes "
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


@pytest.mark.slow
@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page, id=page.stem, marks=() if page.stem in ("README", "cli", "steering") else pytest.mark.nightly
        )
        for page in PAGES
        if _blocks(page)
    ],
)
def test_a_pages_commands_run(page: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ANTHROPIC_API_KEY"}
    environment |= {
        "AAR_HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "GIT_DIR": str(REPOSITORY / ".git"),
    }
    work = tmp_path / "work"
    work.mkdir()
    for command in _blocks(page):
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
    words = [word for word in shlex.split(command.replace("[", " ").replace("]", " "))[1:] if word != "..."]
    found = typer.main.get_command(_app())
    while words and words[0] in getattr(found, "commands", {}):
        _, found, words = found.resolve_command(typer.Context(found), words)  # type: ignore[attr-defined]
    assert not getattr(found, "commands", None) or not words or words[0].startswith("-"), f"{page}: no `{command}`"
    known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "--version", "--install-completion", "--show-completion"}
    unknown = [word for word in words if word.startswith("-") and word.split("=")[0].rstrip(",") not in known]
    assert not unknown, f"{page}: `{command}`"


def test_what_is_not_run_here_is_still_shown_somewhere() -> None:
    shown = [command for page in PAGES for command in _blocks(page)]
    for start in ELSEWHERE:
        assert any(command.startswith(start) for command in shown), f"drop {start} from ELSEWHERE"


def _quick(command: str) -> str:
    if not command.startswith("aar start"):
        return command
    problem = "" if "--problem" in command else " --problem toy"
    return f"{command}{problem} {QUICK}"


def _app() -> typer.Typer:
    from aar.cli.app import app

    return app
