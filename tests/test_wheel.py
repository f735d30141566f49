"""The wheel is complete: installed in an empty environment, far from this checkout, it plays a small campaign."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.bubblewrap, pytest.mark.nightly]


def test_an_installed_wheel_plays_a_campaign(tmp_path: Path) -> None:
    wheels, environment = tmp_path / "wheels", tmp_path / "environment"
    # From a copy: a build leaves its folders beside the sources, and would pack what an older build left there.
    source = tmp_path / "source"
    shutil.copytree(REPOSITORY / "aar", source / "aar", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(wheels), str(source)], tmp_path)
    (wheel,) = wheels.glob("aar-*.whl")
    venv.create(environment, with_pip=True)
    _run([str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", str(wheel)], tmp_path)
    aar = str(environment / "bin" / "aar")
    started = (
        "start --problem toy --researchers 1 --submissions 1 --seeds 2 --sandbox bubblewrap --plain --no-serve --yes"
    )
    assert "finished" in _run([aar, *started.split()], tmp_path)
    (campaign,) = json.loads(_run([aar, "list", "--json"], tmp_path))
    assert campaign["state"] == "finished"
    board = json.loads(_run([aar, "leaderboard", "--json"], tmp_path))
    assert [row["submission"]["number"] for row in board] == [1]
    assert (tmp_path / "home" / "campaigns" / campaign["id"] / "report.html").stat().st_size > 10_000


def _run(command: list[str], folder: Path) -> str:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("AAR_", "ANTHROPIC", "PYTHON"))}
    done = subprocess.run(
        command,
        cwd=folder,
        env=keep | {"AAR_HOME": str(folder / "home"), "NO_COLOR": "1", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout
