"""What people are shown beside scores: alerts, changes of code, splits, jobs, workspaces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import func, select

from aar.errors import NotFound
from aar.events import (
    CampaignPaused,
    CampaignStarted,
    DiversityFell,
    DiversityMeasured,
    LimitHit,
    LimitNear,
    SandboxIncident,
    SandboxLost,
    ToolFinished,
    ToolStarted,
)
from aar.readmodels.alerts import list_alerts
from aar.readmodels.progress import list_visible_submissions
from aar.readmodels.submission_code import CodeFile, diff_files, find_parent, read_submission_code
from aar.readmodels.submission_details import read_seed_scores
from aar.readmodels.transcript import list_researcher_jobs
from aar.readmodels.workspace_files import (
    MAX_IMAGE_BYTES,
    MAX_TEXT_CHARACTERS,
    WorkspaceFile,
    WorkspaceFolder,
    read_workspace_path,
)
from aar.redteam.campaign_rows import add_campaign
from aar.scoring.submissions import get_submission
from aar.store import open_database
from aar.store.database import Database
from aar.store.event_log import append_event
from aar.store.models import Campaign, EventRecord, Researcher

from .conftest import Archive

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 40


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    with opened.writing() as session:
        add_campaign(session, "k3v9qd", 2)
    yield opened
    opened.close()


def _near(percent: int) -> LimitNear:
    return LimitNear(limit="usd", percent=percent, ceiling=Decimal(5), committed=Decimal(percent) / 20)


def test_alerts_tell_each_thing_once_the_grave_ones_first(db: Database) -> None:
    who = "k3v9qd-r2"
    incident = SandboxIncident(name="x", incident="fork_bomb", detail="\x1b[31m900 processes")
    with db.writing() as session:
        assert list_alerts(session, "k3v9qd") == []
        append_event(session, "k3v9qd", _near(50))
        append_event(session, "k3v9qd", _near(80))
        for _ in range(3):
            append_event(session, "k3v9qd", incident, who)
        session.get_one(Researcher, "k3v9qd-r1").state = "failed"
        session.get_one(Researcher, "k3v9qd-r1").cause = "no key"
        found = list_alerts(session, "k3v9qd")
        assert {(each.kind, each.grave, each.researcher, each.count) for each in found} == {
            ("failure", True, "r1", 1),
            ("incident", True, "r2", 3),
            ("limit", False, "", 1),
        }
        assert [each.grave for each in found] == [True, True, False]
        assert not any("\x1b" in each.text for each in found)
        hit = LimitHit(scope="campaign", limit="usd", ceiling=Decimal(5), committed=Decimal(5), asked=Decimal(1))
        append_event(session, "k3v9qd", hit)
        said = [each.text for each in list_alerts(session, "k3v9qd") if each.kind == "limit"]
        assert said == [hit.summary()]


def test_of_a_campaign_that_is_over_only_the_limit_that_ended_it_is_told(db: Database) -> None:
    def hit(limit: str, scope: str = "campaign") -> LimitHit:
        return LimitHit(scope=scope, limit=limit, ceiling=Decimal(5), committed=Decimal(5), asked=Decimal(1))

    with db.writing() as session:
        started = CampaignStarted(pid=1, sandbox="bubblewrap")
        for event in (started, hit("usd"), CampaignPaused(cause="limit"), started, _near(50), hit("tokens", "r1")):
            append_event(session, "k3v9qd", event)
        session.get_one(Campaign, "k3v9qd").state = "finished"
        assert list_alerts(session, "k3v9qd") == []
        append_event(session, "k3v9qd", hit("hours"))
        assert [(each.text, each.grave) for each in list_alerts(session, "k3v9qd")] == [(hit("hours").summary(), False)]


def test_a_fall_of_diversity_is_told_until_it_is_over(db: Database) -> None:
    with db.writing() as session:
        for event in (
            DiversityMeasured(bits=3, families=8),
            DiversityMeasured(bits=1.2, families=3),
            DiversityFell(bits=1.2, highest=3, minutes=12),
        ):
            append_event(session, "k3v9qd", event)
        assert [each.kind for each in list_alerts(session, "k3v9qd")] == ["diversity"]
        append_event(session, "k3v9qd", DiversityMeasured(bits=1.4, families=3))
        assert [each.kind for each in list_alerts(session, "k3v9qd")] == ["diversity"]
        append_event(session, "k3v9qd", DiversityMeasured(bits=1.5, families=4))
        assert list_alerts(session, "k3v9qd") == []


def test_jobs_are_read_from_what_tools_said(db: Database) -> None:
    who, number = "k3v9qd-r1", 0

    def use(tool: str, about: str, said: str, *, is_error: bool = False) -> None:
        nonlocal number
        number += 1
        use_id, content = f"t{number}", [{"type": "text", "text": said}]
        append_event(session, "k3v9qd", ToolStarted(tool_use_id=use_id, tool=tool, about=about), who)
        done = ToolFinished(tool_use_id=use_id, tool=tool, content=content, is_error=is_error, seconds=0.1)
        append_event(session, "k3v9qd", done, who)

    with db.writing() as session:
        use("start_job", "python a.py", "Job j1 started.\nIt is stopped after 60 minutes. `wait` for it.")
        use("start_job", "python b.py", "Job j2 started.\nIt is stopped after 60 minutes. `wait` for it.")
        use("bash", "echo", "Job j2 exited with code 9 after 1 s.")
        use("job_output", "j2", "Job j2 is still running after 4 s.\nJob j1 was killed by signal 9 after 3 s.x")
        use("wait", "j1", "Job j1 exited with code 0 after 12 s.\nthe output")
        use("wait", "j7", "no job j7", is_error=True)
        found = list_researcher_jobs(session, who)
        assert [(each.id, each.command, each.state, each.said) for each in found] == [
            ("j2", "python b.py", "running", "is still running after 4 s"),
            ("j1", "python a.py", "ended", "exited with code 0 after 12 s"),
        ]
        append_event(session, "k3v9qd", SandboxLost(name="x", cause="gone"), who)
        use("start_job", "python c.py", "Job j1 started.\nIt is stopped after 60 minutes. `wait` for it.")
        assert [(each.id, each.state) for each in list_researcher_jobs(session, who)] == [
            ("j1", "running"),
            ("j2", "lost"),
            ("j1", "ended"),
        ]


def test_an_older_look_at_jobs_that_ends_later_doubles_none(db: Database) -> None:
    who = "k3v9qd-r1"
    with db.reading() as early:
        assert early.scalar(select(func.count()).select_from(EventRecord)) is not None  # its moment is this one
        with db.writing() as session:
            append_event(session, "k3v9qd", ToolStarted(tool_use_id="t1", tool="start_job", about="python a.py"), who)
            told = [{"type": "text", "text": "Job j1 started.\nIt is stopped after 60 minutes."}]
            done = ToolFinished(tool_use_id="t1", tool="start_job", content=told, is_error=False, seconds=0.1)
            append_event(session, "k3v9qd", done, who)
            append_event(session, "k3v9qd", SandboxLost(name="x", cause="gone"), who)
        with db.reading() as late:
            found = list_researcher_jobs(late, who)
        list_researcher_jobs(early, who)
    with db.reading() as session:
        assert list_researcher_jobs(session, who) == found
    assert [(each.id, each.state) for each in found] == [("j1", "lost")]


def test_a_workspace_is_looked_into_and_never_left(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "workspace"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "a.txt").write_text("täxt")
    (root / "plot.png").write_bytes(PNG)
    (root / "blob").write_bytes(b"\0\1")
    (root / "long").write_text("ä" * MAX_TEXT_CHARACTERS)
    (root / "huge.png").write_bytes(PNG + b"0" * MAX_IMAGE_BYTES)
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "out").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    top = read_workspace_path(root)
    assert isinstance(top, WorkspaceFolder)
    assert [(each.name, each.kind) for each in top.entries][:2] == [("deep", "folder"), ("blob", "file")]
    assert {each.name for each in top.entries if each.kind == "other"} == {"link", "out", "pipe"}
    for path, text, image in (("deep/a.txt", "täxt", None), ("plot.png", None, "image/png"), ("blob", None, None)):
        found = read_workspace_path(root, path)
        assert isinstance(found, WorkspaceFile)
        assert (found.text, found.image, found.cut) == (text, image, False)
    long = read_workspace_path(root, "long")
    assert isinstance(long, WorkspaceFile)
    assert long.cut
    assert long.text == "ä" * (MAX_TEXT_CHARACTERS // 2)
    huge = read_workspace_path(root, "huge.png")
    assert isinstance(huge, WorkspaceFile)
    assert (huge.image, huge.content) == (None, b"")
    outside = ("link", "out", "out/secret", "pipe", "../secret", "deep/../../secret", "/etc/passwd", "deep/a.txt/x")
    for path in (*outside, "no", "a\0b", "x/" * 60, "\udc80"):
        with pytest.raises(NotFound):
            read_workspace_path(root, path)
    with pytest.raises(NotFound):
        read_workspace_path(tmp_path / "nowhere")
    (tmp_path / "linked").symlink_to(root)
    with pytest.raises(NotFound):
        read_workspace_path(tmp_path / "linked")


def test_a_difference_says_what_came_and_went() -> None:
    def file(path: str, text: str | None) -> CodeFile:
        return CodeFile(path, 1, text, digest=repr(text))

    before = [file("run.py", "a\nb\nc"), file("gone.py", "x"), file("same.py", "s"), file("w.bin", None)]
    long = "\n".join(str(number) for number in range(3000))
    after = [file("run.py", "a\nB\nc"), file("same.py", "s"), file("new.py", "n\nm"), file("long.py", long)]
    found = {each.path: each for each in diff_files(before, after)}
    assert {path: (each.change, each.added, each.removed) for path, each in found.items()} == {
        "run.py": ("changed", 1, 1),
        "new.py": ("added", 2, 0),
        "long.py": ("added", 0, 0),
        "gone.py": ("removed", 0, 1),
        "w.bin": ("removed", 0, 0),
    }
    assert [(line.kind, line.text) for line in found["run.py"].lines[1:]] == [
        ("same", "a"),
        ("removed", "b"),
        ("added", "B"),
        ("same", "c"),
    ]
    many = diff_files([file("m.py", "")], [file("m.py", "\n".join("x" * 1500))])[0]
    assert len(many.lines) == 600
    assert many.cut > 800


def test_a_submissions_code_differs_from_its_parents(archive: Archive) -> None:
    with archive.db.reading() as session:
        child = get_submission(session, "k3v9qd", 14)
        parent = find_parent(child, list_visible_submissions(session, "k3v9qd"))
    assert parent is not None
    found = diff_files(
        read_submission_code(archive.snapshots, parent.digest), read_submission_code(archive.snapshots, child.digest)
    )
    assert [(each.path, each.change, each.added, each.removed) for each in found] == [("run.py", "changed", 2, 2)]


def test_each_split_has_a_score_and_together_they_are_about_the_mean(archive: Archive) -> None:
    with archive.db.reading() as session:
        submission = get_submission(session, "k3v9qd", 14)
        found = read_seed_scores(session, "weak_to_strong", submission.id, ["measure"])
        assert read_seed_scores(session, "no_such_problem", submission.id, ["measure"]) == []
    assert [(each.domain, each.number) for each in found] == [
        *(("movie", number) for number in (1, 2, 3)),
        *(("sarcasm", number) for number in (1, 2, 3)),
    ]
    assert sum(each.score for each in found) / len(found) == pytest.approx(submission.mean or 0, abs=0.03)
    assert all(each.score == round(each.score, 2) for each in found)
