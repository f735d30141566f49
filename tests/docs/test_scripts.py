"""The README's first command, as a newcomer types it, in the checkout that the second one has set up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
QUICK = ("--problem", "toy", "-n", "1", "--submissions", "1", "--seeds", "1", "--no-serve", "--model", "offline-search")


@pytest.mark.slow
@pytest.mark.bubblewrap
@pytest.mark.skipif(
    not (REPOSITORY / ".venv" / ".installed").exists(), reason="this checkout was not set up by scripts/test"
)
def test_the_first_command_runs_a_campaign(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["scripts/run", *QUICK],
        cwd=REPOSITORY,
        env={**os.environ, "AAR_HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "every researcher finished" in ran.stdout
    assert list(tmp_path.glob("campaigns/*/report.html"))


def test_a_machine_without_python_gets_a_remedy(tmp_path: Path) -> None:
    """With nothing but the shell's own tools on PATH, the script names what is missing instead of breaking."""
    for tool in ("bash", "dirname", "sed", "id"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    copy = tmp_path / "checkout"
    (copy / "scripts").mkdir(parents=True)
    for name in ("lib.sh", "run"):
        (copy / "scripts" / name).write_text((REPOSITORY / "scripts" / name).read_text())
    ran = subprocess.run(
        ["/usr/bin/bash", "scripts/run"],
        cwd=copy,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 3
    assert "no Python 3.11 or newer found" in ran.stderr
