"""`kill -9` at random moments, again and again: the campaign goes on, loses no result and pays for nothing twice.

The same campaign (one researcher, fixed seed) is run once undisturbed and once under fire. A command that a kill cut
off is reported to the researcher as such, so the two may part ways after it; until then they must agree, and every
score that stands in the end must be what the frozen code gives when it is run again, by hand, on the recorded seeds.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from aar.problems.protocol import Stage
from aar.problems.toy.problem import Toy
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.models import Campaign, EventRecord, LedgerEntry, Post, ScoringRun, Submission

OPTIONS = ("--problem", "toy", "-n", "1", "--submissions", "3", "--seed", "11", "--sandbox", "bubblewrap")
LONGEST_SECONDS = 90

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]


@pytest.mark.parametrize(("kills", "confirms"), [(3, False), pytest.param(10, True, marks=pytest.mark.nightly)])
def test_a_campaign_under_fire_ends_like_an_undisturbed_one(
    kills: int, confirms: bool, tmp_path: Path, quick_spec: Path
) -> None:
    calm, fire = tmp_path / "calm", tmp_path / "fire"
    start = ("start", *(() if confirms else (str(quick_spec),)), *OPTIONS)
    assert _aar(calm, *start).wait(LONGEST_SECONDS) == 0
    assert _run_under_fire(fire, start, random.Random(2026), kills) == kills
    undisturbed, survived = _submissions(calm), _submissions(fire)
    assert [(number, state) for number, _, state, _ in survived] == [(n, "measured") for n in (1, 2, 3)]
    assert survived[0] == undisturbed[0]
    same_code = {(number, digest): mean for number, digest, _, mean in undisturbed}
    for number, digest, _, mean in survived:
        assert same_code.get((number, digest), mean) == mean
        assert mean == pytest.approx(_score_again(fire, number, tmp_path / f"again-{number}"))
    assert len(_posts(fire)) == len(set(_posts(fire)))
    _check_books(calm, lost_at_most=0)
    _check_books(fire, lost_at_most=kills)
    assert not _processes_of(fire)
    assert not _left_behind(fire)


def _run_under_fire(home: Path, command: tuple[str, ...], rng: random.Random, most: int) -> int:
    kills = 0
    deadline = time.monotonic() + LONGEST_SECONDS + 20 * most
    while time.monotonic() < deadline:
        process = _aar(home, *command)
        events = _event_count(home)
        if kills < most:
            # Count events, not seconds: the moments are then spread over the work however slow the machine is.
            target = events + rng.randint(2, 6)
            while process.poll() is None and _event_count(home) < target:
                time.sleep(rng.uniform(0, 0.02))
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                command = ("resume", "--sandbox", "bubblewrap")
                continue
        assert process.wait(LONGEST_SECONDS) == 0, (home / "log").read_text()[-2000:]
        return kills
    raise AssertionError("the campaign under fire did not end in time")


def _aar(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if key != "ANTHROPIC_API_KEY"}
    home.mkdir(exist_ok=True)
    with (home / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "aar", *arguments, "--plain", "--no-serve"],
            env={**environment, "AAR_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _event_count(home: Path) -> int:
    if not (home / "aar.db").exists():
        return 0
    try:
        db = open_database(f"sqlite:///{home / 'aar.db'}")
    except Exception:  # noqa: BLE001 - the other process is just making it
        return 0
    with db.reading() as session:
        newest = session.scalar(select(EventRecord.id).order_by(EventRecord.id.desc()).limit(1))
    db.close()
    return newest or 0


def _submissions(home: Path) -> list[tuple[int, str, str, float | None]]:
    db = open_database(f"sqlite:///{home / 'aar.db'}")
    with db.reading() as session:
        found = [
            (row.number, row.digest, row.state, row.mean)
            for row in session.scalars(select(Submission).order_by(Submission.number))
        ]
    db.close()
    assert len(found) == 3
    return found


def _left_behind(home: Path) -> list[str]:
    """What the log tells of sandboxes that could not be removed at once, and what lies there still."""
    db = open_database(f"sqlite:///{home / 'aar.db'}")
    with db.reading() as session:
        told = session.scalars(select(EventRecord.payload).where(EventRecord.kind == "sandbox_incident")).all()
    db.close()
    found = [payload["detail"] for payload in told if payload["incident"] == "left_behind"]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(home) in line]
    return found + [str(path) for path in home.glob("campaigns/*/scoring/*/*")]


def _score_again(home: Path, number: int, scratch: Path) -> float:
    """The score of a submission, from its snapshot and the recorded seeds alone, outside of everything under test."""
    problem = Toy()
    db = open_database(f"sqlite:///{home / 'aar.db'}")
    with db.reading() as session:
        submission = session.scalars(select(Submission).where(Submission.number == number)).one()
        measured = (ScoringRun.submission_id == submission.id, ScoringRun.stage == Stage.MEASURE)
        runs = session.scalars(select(ScoringRun).where(*measured).order_by(ScoringRun.index)).all()
    db.close()
    SnapshotStore(home / "campaigns" / submission.campaign_id / "snapshots").materialise(
        submission.digest, scratch / "method"
    )
    scores = []
    for run in runs:
        task = problem.prepare(run.domain, Stage(run.stage), run.split_seed, scratch / str(run.index))
        output = scratch / f"{run.index}.out"
        command = ["run.py", "--data", str(task.public), "--seed", str(run.seed), "--out", str(output)]
        subprocess.run(
            [sys.executable, *command],
            cwd=scratch / "method",
            env={**os.environ, "PYTHONPATH": str(problem.lab())},
            check=True,
        )
        scores.append((task, problem.score(task, output)))
    return problem.pool(scores).mean


def _posts(home: Path) -> list[tuple[str, str]]:
    db = open_database(f"sqlite:///{home / 'aar.db'}")
    with db.reading() as session:
        found = [(row.kind, row.title) for row in session.scalars(select(Post).order_by(Post.id))]
    db.close()
    return found


def _check_books(home: Path, *, lost_at_most: int) -> None:
    """Every turn was paid for once, every scoring run was scored once, and the campaign is over."""
    db = open_database(f"sqlite:///{home / 'aar.db'}")
    with db.reading() as session:
        assert session.scalars(select(Campaign.state)).all() == ["finished"]
        turns = [
            payload["request_id"]
            for payload in session.scalars(select(EventRecord.payload).where(EventRecord.kind == "turn_received"))
        ]
        entries = session.scalars(select(LedgerEntry)).all()
        models = Counter(entry.state for entry in entries if entry.kind == "model")
        settled = {entry.request_id for entry in entries if entry.kind == "model" and entry.state == "settled"}
        runs = session.scalars(select(ScoringRun)).all()
    db.close()
    assert len(turns) == len(set(turns))
    assert set(turns) == settled
    assert models["reserved"] == 0
    assert models["lost"] <= lost_at_most
    assert all(entry.usd == 0 for entry in entries)
    assert {run.state for run in runs} == {"scored"}
    assert len({(run.submission_id, run.stage, run.index) for run in runs}) == len(runs)


def _processes_of(home: Path) -> list[str]:
    """Command lines of processes that still have to do with this campaign's folder."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
        if place.name.isdigit() and str(home) in line:
            found.append(line)
    return found
