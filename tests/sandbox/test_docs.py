"""The page on sandboxes names every attempt of the escape suite."""

from __future__ import annotations

from pathlib import Path

from aar.redteam.escapes import ESCAPES
from aar.redteam.escapes.transfers import TRANSFER_ESCAPES

PAGE = Path(__file__).parents[2] / "docs" / "sandboxes.md"


def test_the_table_of_attempts_is_complete() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    wanted = {e.name: e.goal for e in ESCAPES} | {name: goal for name, (goal, _) in TRANSFER_ESCAPES.items()}
    assert [name for name, goal in wanted.items() if f"| {name} | {goal} |" not in rows] == []
    assert f"| {len(wanted)} / 0 / 0 |" in PAGE.read_text()
