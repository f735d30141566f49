"""Disqualification and reinstatement: what is shown, what stays, and that it reverses without a trace on the board."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from aar.errors import Conflict, DatabaseError, UsageError
from aar.forum.authors import Author
from aar.forum.news import news_since
from aar.forum.posts import create_post
from aar.forum.search import list_posts
from aar.scoring.audits.audit_findings import latest_findings
from aar.scoring.confirmation_queue import request_check
from aar.scoring.results.leaderboard import read_leaderboard
from aar.scoring.submission_queue import read_queue
from aar.scoring.submission_status import disqualify, reinstate, status_history
from aar.scoring.submissions import get_submission
from aar.store.models import AuditFinding, ScoringRun, Submission

from .audits_for_tests import WordAudit
from .conftest import CAMPAIGN, COPY, Desk, Serving, events
from .results.test_score_writer import score

CHEAT = COPY + "# cheat\n"


def view(desk: Desk, number: int = 1) -> Any:
    with desk.db.reading() as session:
        return get_submission(session, CAMPAIGN, number)


def board(desk: Desk) -> list[Any]:
    with desk.db.reading() as session:
        return read_leaderboard(session, CAMPAIGN)


def rows(desk: Desk) -> list[dict[str, Any]]:
    with desk.db.reading() as session:
        found = session.execute(text("SELECT * FROM submission ORDER BY id")).mappings()
        return [dict(row) for row in found]


def rule_on(desk: Desk, number: int = 1) -> None:
    with desk.db.writing() as session:
        disqualify(
            session, view(desk, number).id, "person.leak", "It reads what it must not.", "human:ana", all_authors=True
        )


def pardon(desk: Desk, number: int = 1) -> None:
    with desk.db.writing() as session:
        reinstate(session, view(desk, number).id, "A misunderstanding.", "human:ana")


def test_a_measured_submission_goes_and_comes_back_as_it_was(desk: Desk) -> None:
    for index, value in enumerate([0.5, 0.3]):
        desk.submit(desk.method(f"print({index})"), researcher=1 + index)
        score(desk, value)
    desk.submit(desk.method("print(0)"), researcher=3)  # the same code as s1
    score(desk, 0.5)
    before, ranking, shown = rows(desk), board(desk), view(desk)
    rule_on(desk)
    gone = view(desk)
    assert [row.submission.number for row in board(desk)] == [2]
    assert gone.verdict.startswith("s1 disqualified: person.leak: It reads what it must not.")
    assert (gone.mean, gone.standard_error, gone.low, gone.high) == (None,) * 4
    assert "0.5" not in gone.verdict
    assert view(desk, 3).disqualified == "person.leak"  # it shares the score
    with pytest.raises(Conflict, match="disqualified already"):
        rule_on(desk)
    with pytest.raises(Conflict, match=r"are s1, which is disqualified: person\.leak"):
        desk.submit(desk.method("print(0)"), researcher=2)
    pardon(desk)
    assert (rows(desk), board(desk), view(desk)) == (before, ranking, shown)
    with pytest.raises(Conflict, match="not disqualified"):
        pardon(desk)
    with desk.db.reading() as session:
        changes = [(change.old, change.new, change.by) for change in status_history(session, shown.id)]
    assert changes[1:] == [
        ("claimed", "measured", "scorer"),
        ("measured", "disqualified", "human:ana"),
        ("disqualified", "reinstated", "human:ana"),
    ]


def test_an_audits_word_stays_with_the_author_whose_submission_it_read(desk: Desk) -> None:
    for researcher in (1, 2, 2):
        desk.submit(desk.method("print(0)"), researcher=researcher)
        score(desk, 0.5)
    desk.submit(desk.method("print(0)"), researcher=3)
    with desk.db.writing() as session:
        disqualify(session, view(desk, 2).id, "word.cheat", "It says so itself.", "word")
    assert [view(desk, number).disqualified for number in (1, 2, 3, 4)] == ["", "word.cheat", "word.cheat", ""]
    assert [row.submission.number for row in board(desk)] == [1]
    with desk.db.writing() as session:
        disqualify(session, view(desk, 1).id, "word.cheat", "It says so itself.", "word")
    score(desk, 0.5)  # the fourth was in the queue: what others lost is not its own
    assert [view(desk, number).disqualified for number in (1, 4)] == ["word.cheat", ""]
    assert [row.submission.number for row in board(desk)] == [4]
    with desk.db.writing() as session:
        check = request_check(session, CAMPAIGN, view(desk, 4).id, "confirmation", "", "human:ana")
    assert check.number == 4
    rule_on(desk, 4)
    assert board(desk) == []


def test_a_persons_word_holds_the_same_files_in_the_queue_too(desk: Desk) -> None:
    desk.submit(desk.method("print(0)"))
    score(desk, 0.5)
    desk.submit(desk.method("print(0)"), researcher=2)
    desk.submit(desk.method("print(1)"), researcher=2)
    rule_on(desk)
    assert [view(desk, number).state for number in (1, 2, 3)] == ["measured", "held", "queued"]
    pardon(desk)
    assert [view(desk, number).state for number in (1, 2, 3)] == ["measured", "queued", "queued"]


def test_everybody_reads_it_on_the_forum_as_the_scorers_word(desk: Desk) -> None:
    desk.submit(desk.method("print(1)"))
    score(desk, 0.5)
    rule_on(desk)
    pardon(desk)
    with desk.db.reading() as session:
        first, second = list_posts(session, CAMPAIGN)
        news = news_since(session, CAMPAIGN, f"{CAMPAIGN}-r2", 0)
    assert [(post.author, post.by_human, post.kind, post.submission_number) for post in (first, second)] == [
        ("scorer", False, "error", 1),
        ("scorer", False, "result", 1),
    ]
    assert "person.leak" in first.body
    assert "post a question on the forum that names s1" in first.body
    assert news.human_messages == []
    assert any('scorer posted #1 [error]: "s1 disqualified: person.leak"' in line for line in news.lines)


@pytest.mark.parametrize("name", ["scorer", "Scorer", " SCORER "])
def test_nobody_else_writes_under_the_scorers_name(desk: Desk, name: str) -> None:
    with pytest.raises(UsageError, match="name scorer is reserved"), desk.db.writing() as session:
        create_post(session, CAMPAIGN, Author(name, None), kind="result", title="s1 is fine", body="Trust me.")


def test_a_queued_submission_is_held_and_queues_again(desk: Desk) -> None:
    desk.submit(desk.method("print(1)"))
    rule_on(desk)
    assert (view(desk).state, view(desk).finished) == ("held", True)
    with desk.db.reading() as session:
        assert read_queue(session, CAMPAIGN).waiting == ()
    pardon(desk)
    assert (view(desk).state, view(desk).finished_at) == ("queued", None)
    score(desk, 0.4)
    assert view(desk).mean == 0.4


def test_a_check_of_a_disqualified_submission_is_refused(desk: Desk) -> None:
    desk.submit(desk.method("print(1)"))
    score(desk, 0.5)
    rule_on(desk)
    with pytest.raises(Conflict, match="Reinstate it first"), desk.db.writing() as session:
        request_check(session, CAMPAIGN, view(desk).id, "confirmation", "", "human:ana")


def test_a_rejected_submission_has_nothing_to_lose(desk: Desk) -> None:
    desk.submit(desk.method("1/0"))
    score(desk, 0.5, fail_at=0)
    with pytest.raises(Conflict, match="was rejected"):
        rule_on(desk)


@pytest.mark.parametrize("table", ["status_change", "audit_finding", "event"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET campaign_id = 'other'", "DELETE FROM {}"])
def test_the_record_only_grows(desk: Desk, table: str, statement: str) -> None:
    view = desk.submit(desk.method("print(1)"))
    with desk.db.writing() as session:
        session.add(
            AuditFinding(
                campaign_id=CAMPAIGN, submission_id=view.id, audit="a", verdict="passed", reason="fine", evidence={}
            )
        )
    with pytest.raises((DatabaseError, DBAPIError), match="never changed"), desk.db.writing() as session:
        session.execute(text(statement.format(table)))


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_code_is_read_before_it_is_run_and_a_person_can_let_it_run(desk: Desk, serving: Serving) -> None:
    desk.submit(desk.method(CHEAT))
    desk.submit(desk.method(COPY), researcher=2)
    audit = WordAudit()
    async with serving(audits=[audit]) as (scorer, _):
        held = await scorer.wait_for(1, 60)
        assert (held.state, held.disqualified, held.status) == ("held", "word.cheat", "claimed")
        assert held.verdict.startswith("s1 disqualified: word.cheat: It says so itself.")
        assert (await scorer.wait_for(2, 60)).state == "measured"
        with desk.db.reading() as session:
            assert {run.state for run in session.query(ScoringRun).filter_by(submission_id=held.id)} == {"queued"}
            draws = [run.split_seed for run in session.query(ScoringRun).filter_by(submission_id=held.id)]
        assert [row.submission.number for row in board(desk)] == [2]
        pardon(desk)
        assert (await scorer.wait_for(1, 60)).state == "measured"
    assert sorted(audit.asked) == [1, 2]  # what a person let through is not asked again
    with desk.db.reading() as session:
        assert [run.split_seed for run in session.query(ScoringRun).filter_by(submission_id=held.id)] == draws
        findings = latest_findings(session, [held.id])[held.id]
        statuses = [change.new for change in status_history(session, held.id)]
    assert [(finding.rule, finding.evidence) for finding in findings] == [("word.cheat", {"line": 1})]
    assert statuses == ["claimed", "disqualified", "reinstated", "measured"]
    assert [logged.event.verdict for logged in events(desk, "audit_finished")].count("disqualified") == 1


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_an_audit_that_breaks_is_skipped_and_tells_nothing_hidden(desk: Desk, serving: Serving) -> None:
    desk.submit(desk.method(COPY + "# unreadable\n"))
    async with serving(audits=[WordAudit()]) as (scorer, _):
        assert (await scorer.wait_for(1, 60)).state == "measured"
    (finding,) = events(desk, "audit_finished")
    assert (finding.event.verdict, finding.event.rule) == ("skipped", "not carried out: word")
    assert view(desk).verdict.count("\n") == 0  # the board shows it, and its author has nothing to do about it
    assert [row.labels for row in board(desk)] == [("not carried out: word",)]
    assert "ValueError" in finding.event.reason
    assert "label" not in finding.event.reason


def test_held_code_is_not_measured_by_handing_it_in_again(desk: Desk) -> None:
    desk.submit(desk.method(CHEAT))
    rule_on(desk)
    with pytest.raises(Conflict, match="is disqualified"):
        desk.submit(desk.method(CHEAT), researcher=2)
    with desk.db.reading() as session:
        assert session.query(Submission).count() == 1


@pytest.mark.anyio
@pytest.mark.bubblewrap
async def test_nobody_waits_for_what_a_person_took_out_of_the_queue(desk: Desk, serving: Serving) -> None:
    desk.submit(desk.method("import time; time.sleep(30)\n" + COPY))
    desk.submit(desk.method(COPY), researcher=2)
    async with serving(parallel=1) as (scorer, _):
        async with asyncio.timeout(60):
            while True:
                if view(desk).state == "scoring":
                    break
                await asyncio.sleep(0.05)
        rule_on(desk, 1)
        rule_on(desk, 2)
        await asyncio.wait_for(scorer.drain(), 25)
        assert (await scorer.wait_for(2, 20)).state == "held"
