"""Campaigns that the first version made (commit 0a9162d) can still be listed, read, reported and resumed.

``data/old_home.tar.gz`` is the home folder as that version left it, with a finished campaign and one that was paused
at work: two submissions were being scored.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import func, select

from aar.store import open_database
from aar.store.models import LedgerEntry, Post, ScoringRun, Submission

ARCHIVE = Path(__file__).parent / "data" / "old_home.tar.gz"
FINISHED, PAUSED = "dff9zm", "2f7g9g"


@dataclass(frozen=True, slots=True)
class OldHome:
    """A copy of the old home. Commands over it run in processes of their own, as after an upgrade."""

    path: Path

    def run(self, *arguments: str) -> str:
        """Run a command that must succeed; return standard output."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("AAR_", "ANTHROPIC"))}
        done = subprocess.run(
            [sys.executable, "-m", "aar", *arguments],
            env=clean | {"AAR_HOME": str(self.path), "COLUMNS": "160", "NO_COLOR": "1", "TZ": "UTC"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def old_home(tmp_path: Path) -> OldHome:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return OldHome(tmp_path)


def test_old_campaigns_are_listed_and_shown(old_home: OldHome) -> None:
    listed = {row["id"]: row["state"] for row in json.loads(old_home.run("list", "--json"))}
    assert listed == {FINISHED: "finished", PAUSED: "paused"}
    status = json.loads(old_home.run("status", PAUSED, "--json"))
    assert [row["name"] for row in status["researchers"]] == ["r1", "r2"]
    board = json.loads(old_home.run("leaderboard", FINISHED, "--json"))
    assert [row["submission"]["number"] for row in board] == [1, 2, 3]
    assert {row["submission"]["status"] for row in board} == {"confirmed"}
    posts = old_home.run("forum", "list", "-c", FINISHED)
    assert "Summary of my search" in posts
    assert "Try s1 again with fewer points." in old_home.run("forum", "show", "2", "-c", FINISHED)
    assert "submit_method" in old_home.run("transcript", "r1", "-c", FINISHED)
    assert "The median of the 3 nearest points" in old_home.run("submissions", "s2", "-c", FINISHED)


def test_an_old_campaign_gets_a_report(old_home: OldHome) -> None:
    report = old_home.path / "campaigns" / FINISHED / "report.html"
    report.unlink()
    old_home.run("report", FINISHED)
    written = report.read_text()
    assert "Finished campaign" in written
    assert all(f"s{number}" in written for number in (1, 2, 3))


@pytest.mark.bubblewrap
@pytest.mark.slow
def test_an_old_paused_campaign_resumes_and_keeps_what_it_had(old_home: OldHome) -> None:
    before = _scores(old_home)
    assert Counter(state for _, state, _ in before) == {"measured": 4, "scoring": 2}
    old_home.run("resume", PAUSED, "--submissions", "6", "--sandbox", "bubblewrap", "--no-serve", "--plain", "--yes")
    after = _scores(old_home)
    assert [row for row in before if row[1] == "measured"] == after[:4]
    assert [(number, state) for number, state, _ in after[4:]] == [(5, "measured"), (6, "measured")]
    database = open_database(f"sqlite:///{old_home.path / 'aar.db'}")
    try:
        with database.reading() as session:
            of_it = LedgerEntry.campaign_id == PAUSED
            assert session.scalar(select(func.count()).where(of_it, LedgerEntry.state == "reserved")) == 0
            assert session.scalar(select(func.sum(LedgerEntry.usd)).where(of_it)) == Decimal(0)
            posts = session.scalars(select(Post.body).where(Post.campaign_id == PAUSED)).all()
            assert len(posts) == len(set(posts))
    finally:
        database.close()
    assert json.loads(old_home.run("status", PAUSED, "--json"))["state"] == "finished"


def _scores(home: OldHome) -> list[tuple[int, str, tuple[str, ...]]]:
    """Number, state and what was measured of each submission of the paused campaign."""
    database = open_database(f"sqlite:///{home.path / 'aar.db'}")
    try:
        with database.reading() as session:
            rows = session.scalars(
                select(Submission).where(Submission.campaign_id == PAUSED).order_by(Submission.number)
            ).all()
            return [
                (
                    row.number,
                    row.state,
                    tuple(
                        str(run.parts)
                        for run in session.scalars(
                            select(ScoringRun)
                            .where(ScoringRun.submission_id == row.id, ScoringRun.stage == "measure")
                            .order_by(ScoringRun.index)
                        )
                    ),
                )
                for row in rows
            ]
    finally:
        database.close()
