"""Posts, comments and votes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aar.errors import NotFound, UsageError
from aar.forum.authors import Author
from aar.forum.posts import POST_KINDS, cast_vote, create_comment, create_post, get_thread
from aar.forum.search import PostFilter, list_posts
from aar.forum.views import MAX_BODY, MAX_COMMENT, MAX_TITLE, PostView
from aar.store import Database, event_log
from aar.store.models import Submission

Authors = dict[str, Author]
Post = Callable[..., PostView]


def test_a_post_comes_back_whole(db: Database, post: Post) -> None:
    body = "# heading\n\n" + "é" * (MAX_BODY - 11)
    written = post("r1", kind="result", title=" two\n lines\t", body=body)
    with db.reading() as session:
        read = get_thread(session, "k3v9qd", written.id).post
    assert read == written
    assert (read.title, read.body, read.author, read.by_human) == ("two lines", body, "r1", False)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"title": "x" * (MAX_TITLE + 1)}, "201 characters, and the limit is 200"),
        ({"body": "x" * (MAX_BODY + 1)}, "20,001 characters, and the limit is 20,000"),
        ({"title": " \n"}, "title is empty"),
        ({"body": "\n\t "}, "body is empty"),
        ({"kind": "rant"}, "unknown post kind 'rant'"),
    ],
)
def test_what_will_not_do_is_refused_and_says_why(db: Database, post: Post, fields: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        post("r1", **fields)
    with db.reading() as session:
        assert list_posts(session, "k3v9qd") == []
        assert event_log.latest_event_id(session, "k3v9qd") == 0


def test_a_key_is_one_authors_own(db: Database, post: Post) -> None:
    first = post("r1", idempotency_key="toolu_1")
    assert post("r1", title="another", idempotency_key="toolu_1") == first
    assert post("r2", idempotency_key="toolu_1").id != first.id
    assert post("r1", idempotency_key="toolu_2" * 100).id != first.id


def test_a_researcher_writes_under_its_own_name_only(db: Database) -> None:
    with db.writing() as session:
        written = create_post(session, "k3v9qd", Author("human:ana", "k3v9qd-r2"), kind="insight", title="t", body="b")
    assert (written.author, written.by_human) == ("r2", False)


def test_strangers_are_turned_away(db: Database, authors: Authors, post: Post) -> None:
    mine = post("r1")
    with db.writing() as session:
        with pytest.raises(NotFound, match="no researcher 'other2-r1'"):
            create_comment(session, "k3v9qd", Author("r1", "other2-r1"), mine.id, "hello")
        with pytest.raises(NotFound, match="no campaign 'nope'"):
            create_post(session, "nope", authors["ana"], kind="insight", title="t", body="b")
        with pytest.raises(NotFound, match=f"no post #{mine.id}"):
            get_thread(session, "other2", mine.id)
        with pytest.raises(UsageError, match="author's name"):
            create_comment(session, "k3v9qd", Author("", None), mine.id, "hello")


def test_a_post_may_be_about_a_submission(db: Database, post: Post) -> None:
    with db.writing() as session:
        session.add(
            Submission(
                campaign_id="k3v9qd",
                number=4,
                researcher_id="k3v9qd-r1",
                digest="0" * 64,
                title="t",
                claim="c",
                state="queued",
            )
        )
    assert post("r1", submission_number=4).submission_number == 4
    with pytest.raises(NotFound, match="s5"):
        post("r1", submission_number=5)


def test_pages_follow_the_cursor_in_both_orders(db: Database, post: Post) -> None:
    ids = [post(f"r{1 + index % 2}", kind=POST_KINDS[index % 5]).id for index in range(5)]
    with db.reading() as session:

        def page(limit: int = 50, after: int = 0, newest_first: bool = False, **only: str) -> list[int]:
            wanted = PostFilter(**only, retracted=True)  # type: ignore[arg-type]
            paging = {"limit": limit, "after": after}
            return [view.id for view in list_posts(session, "k3v9qd", **paging, newest_first=newest_first, only=wanted)]

        assert page(limit=2) == ids[:2]
        assert page(limit=2, after=ids[1]) == ids[2:4]
        assert page(limit=2, newest_first=True) == [ids[4], ids[3]]
        assert page(limit=9, newest_first=True, after=ids[3]) == [ids[2], ids[1], ids[0]]
        assert page(kind="result") == [ids[1]]
        assert page(researcher_id="k3v9qd-r2") == [ids[1], ids[3]]
        assert page(after=2**80) == []
        with pytest.raises(UsageError):
            page(limit=0)
        with pytest.raises(UsageError):
            page(kind="rant")


def test_comments_are_kept_in_order_and_counted(db: Database, authors: Authors, post: Post) -> None:
    mine = post("r1")
    with db.writing() as session:
        create_comment(session, "k3v9qd", authors["r2"], mine.id, "first\x07")
        again = [
            create_comment(session, "k3v9qd", authors["ana"], mine.id, "second", idempotency_key="k") for _ in "ab"
        ]
        assert again[0] == again[1]
        with pytest.raises(UsageError, match="20,000"):
            create_comment(session, "k3v9qd", authors["r2"], mine.id, "x" * (MAX_COMMENT + 1))
    with db.reading() as session:
        thread = get_thread(session, "k3v9qd", mine.id)
        kinds = [logged.event.kind for logged in event_log.read_events(session, "k3v9qd")]
    assert thread.post.comments == 2
    assert [(comment.author, comment.by_human, comment.body) for comment in thread.comments] == [
        ("r2", False, "first␇"),
        ("human:ana", True, "second"),
    ]
    assert kinds == ["post_created", "comment_created", "comment_created"]


def test_one_vote_each_which_may_change(db: Database, authors: Authors, post: Post) -> None:
    mine = post("r1")
    with db.writing() as session:

        def vote(author: str, value: int) -> int:
            return cast_vote(session, "k3v9qd", authors[author], mine.id, value).score

        assert [vote("r2", 1), vote("r2", 1), vote("ana", 1), vote("r2", -1), vote("r3", 1)] == [1, 1, 2, 0, 1]
        with pytest.raises(UsageError, match="your own"):
            vote("r1", 1)
        with pytest.raises(UsageError, match=r"\+1 or -1"):
            vote("r2", 100)
        with pytest.raises(NotFound):
            cast_vote(session, "k3v9qd", authors["r2"], 99, 1)
        assert len(event_log.read_events(session, "k3v9qd", kinds=["vote_cast"])) == 4


def test_a_person_cannot_vote_as_a_researcher(db: Database, authors: Authors, post: Post) -> None:
    mine = post("r1")
    with db.writing() as session:
        cast_vote(session, "k3v9qd", authors["r2"], mine.id, 1)
        score = cast_vote(session, "k3v9qd", Author("k3v9qd-r2", None), mine.id, -1).score
    assert score == 0
