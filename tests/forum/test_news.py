"""What a researcher is told between turns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aar.errors import UsageError
from aar.events import SubmissionMeasured
from aar.forum.authors import Author
from aar.forum.news import news_since
from aar.forum.posts import create_comment
from aar.forum.views import PostView
from aar.store import Database, event_log

Post = Callable[..., PostView]


def test_others_doings_are_short_lines_and_people_are_heard_in_full(
    db: Database, post: Post, authors: dict[str, Author]
) -> None:
    mine = post("r1", title="mine")
    post("r2", kind="result", title="k-NN\nhelps " + "x" * 150)
    long_words = "Please look at calibration.\n" + "y" * 5000
    post("ana", kind="question", title="calibration?", body=long_words)
    with db.writing() as session:
        create_comment(session, "k3v9qd", authors["r2"], mine.id, "agreed\n" * 100)
        create_comment(session, "k3v9qd", authors["ana"], mine.id, "well done\n" * 100)
        measured = SubmissionMeasured(
            submission_id=1, number=7, metric="PGR", score=0.41234, standard_error=0.02, best=True
        )
        event_log.append_event(session, "k3v9qd", measured, "k3v9qd-r2")
    with db.reading() as session:
        news = news_since(session, "k3v9qd", "k3v9qd-r1", 0)
        assert news_since(session, "k3v9qd", "k3v9qd-r1", news.cursor).lines == []
        latest = event_log.latest_event_id(session, "k3v9qd")
    assert news.cursor == latest
    assert len(news.lines) == 3
    assert news.lines[0].startswith('r2 posted #2 [result]: "k-NN helps xxx')
    assert news.lines[1].startswith('r2 commented on your post #1 "mine": "agreed agreed')
    assert news.lines[2] == "s7 by r2 measured: PGR 0.41 ± 0.02, and leads the board"
    assert all("\n" not in line and len(line) < 400 for line in news.lines)
    assert news.human_messages == [
        f'human:ana, a person, posted #3 [question] "calibration?":\n{long_words}',
        'human:ana, a person, commented on your post #1 "mine":\n' + "well done\n" * 100,
    ]


def test_more_than_fits_is_said(db: Database, post: Post) -> None:
    for index in range(6):
        post("r2", title=f"post {index}")
    post("ana", title="from a person")
    with db.reading() as session:
        news = news_since(session, "k3v9qd", "k3v9qd-r1", 0, limit=2)
        with pytest.raises(UsageError):
            news_since(session, "k3v9qd", "k3v9qd-r1", 0, limit=0)
    assert news.lines[0].startswith("(4 older lines left out")
    assert [line[-7:] for line in news.lines[1:]] == ['post 4"', 'post 5"']
    assert len(news.human_messages) == 1


def test_nothing_is_news_to_nobody(db: Database) -> None:
    with db.reading() as session:
        news = news_since(session, "k3v9qd", "k3v9qd-r1", 5)
    assert (news.cursor, news.lines, news.human_messages) == (5, [], [])
