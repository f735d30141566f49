"""Edits, retractions, pins, mentions and claims; and the files that tell of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from aar.campaign.controller.controller import _update_mirror
from aar.errors import Conflict, Forbidden, NotFound, UsageError
from aar.forum.authors import SCORER_AUTHOR, Author
from aar.forum.claims import MAX_CLAIMS, active_claims, claim_topic, release_topic
from aar.forum.edits import edit_comment, edit_post, list_revisions, pin, retract
from aar.forum.mirror import ForumMirror
from aar.forum.news import news_since
from aar.forum.posts import create_comment, create_post, get_thread
from aar.forum.search import full_text_search
from aar.forum.views import PostView
from aar.store import Database, event_log

Authors = dict[str, Author]
Post = Callable[..., PostView]
CAMPAIGN = "k3v9qd"
both = pytest.mark.parametrize("db", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)


def told(db: Database, reader: str, after: int = 0) -> list[str]:
    with db.reading() as session:
        return news_since(session, CAMPAIGN, f"{CAMPAIGN}-{reader}", after).lines


@both
def test_the_same_edit_twice_changes_once(db: Database, post: Post, authors: Authors) -> None:
    mine = post("r1", title="a", body="b")
    with db.writing() as session:
        for _ in range(2):
            edit_post(session, CAMPAIGN, authors["r1"], mine.id, body="c")
        for who, fails in (("r2", Forbidden), ("r1", UsageError)):
            with pytest.raises(fails):
                edit_post(session, CAMPAIGN, authors[who], mine.id, body=" " if who == "r1" else "mine")
        assert [(each.body, each.by) for each in list_revisions(session, CAMPAIGN, mine.id)] == [("b", "r1")]
        assert len(event_log.read_events(session, CAMPAIGN, kinds=["text_edited"])) == 1
        assert full_text_search(session, CAMPAIGN, "c") != []


@both
def test_nobody_rewrites_the_scorers_record(db: Database, authors: Authors) -> None:
    with db.writing() as session:
        record = create_post(session, CAMPAIGN, SCORER_AUTHOR, kind="result", title="s1 measured", body="0.2")
        for who in ("r1", "ana"):
            with pytest.raises(Forbidden):
                edit_post(session, CAMPAIGN, authors[who], record.id, body="0.9")
            with pytest.raises(Forbidden):
                retract(session, CAMPAIGN, authors[who], record.id, "no")


@both
def test_a_comment_is_edited_and_retracted_apart_from_its_post(db: Database, post: Post, authors: Authors) -> None:
    mine, other = post("r1"), post("r1")
    with db.writing() as session:
        said = create_comment(session, CAMPAIGN, authors["r2"], mine.id, "platypus")
        edit_comment(session, CAMPAIGN, authors["r2"], mine.id, said.id, "platypus, twice")
        with pytest.raises(NotFound):
            edit_comment(session, CAMPAIGN, authors["r2"], other.id, said.id, "x")
        assert full_text_search(session, CAMPAIGN, "platypus") != []
        for _ in range(2):
            retract(session, CAMPAIGN, authors["ana"], mine.id, "not so", comment_id=said.id)
        assert full_text_search(session, CAMPAIGN, "platypus") == []
        thread = get_thread(session, CAMPAIGN, mine.id)
        assert (thread.comments[0].retraction, thread.post.retracted_at) == ("not so", None)
        assert len(event_log.read_events(session, CAMPAIGN, kinds=["text_retracted"])) == 1


@both
def test_who_is_mentioned_hears_of_it_first_and_once(db: Database, post: Post, authors: Authors) -> None:
    for index in range(30):
        post("r3", title=f"other {index}")
    mine = post("r2", title="Ask @r1", body="`@r3` and @r2 and @all and @nobody; mail x@r3.org")
    post("r3", title="the last word")
    lines = told(db, "r1")
    assert lines[0] == 'you are mentioned by r2 in #31 "Ask @r1": "`@r3` and @r2 and @all and @nobody; mail x@r3.org"'
    assert not any("posted #31" in line for line in lines)
    assert not any("mentioned" in line for line in [*told(db, "r2"), *told(db, "r3")])
    with db.writing() as session:
        before = event_log.latest_event_id(session, CAMPAIGN)
        edit_post(session, CAMPAIGN, authors["r2"], mine.id, body="@r1 again, and @r3 now")
        create_comment(session, CAMPAIGN, authors["ana"], mine.id, "hear, @all")
    assert [line[:26] for line in told(db, "r3", before)] == [
        "you are mentioned by r2 in",
        "you are mentioned by human",
    ]
    assert [line[:26] for line in told(db, "r1", before)] == ["you are mentioned by human"]


@both
def test_claims_are_bounded_extended_and_released(db: Database, authors: Authors) -> None:
    with db.writing() as session:
        first = claim_topic(session, CAMPAIGN, authors["r1"], "Graph labels", 1)
        longer = claim_topic(session, CAMPAIGN, authors["r1"], "graph  labels", 3)
        assert (longer.id, longer.expires_at > first.expires_at) == (first.id, True)
        for index in range(MAX_CLAIMS - 1):
            claim_topic(session, CAMPAIGN, authors["r1"], f"topic {index}", 2)
        with pytest.raises(Conflict):
            claim_topic(session, CAMPAIGN, authors["r1"], "too many", 2)
        for hours in (0, -1, 25, float("nan"), float("inf")):
            with pytest.raises(UsageError):
                claim_topic(session, CAMPAIGN, authors["r2"], "x", hours)
        with pytest.raises(Forbidden):
            claim_topic(session, CAMPAIGN, authors["ana"], "x", 1)
        with pytest.raises(Forbidden):
            release_topic(session, CAMPAIGN, authors["r2"], first.id)
        release_topic(session, CAMPAIGN, authors["ana"], first.id)
        assert len(active_claims(session, CAMPAIGN)) == MAX_CLAIMS - 1
        assert active_claims(session, CAMPAIGN, datetime.now(UTC) + timedelta(hours=2.1)) == []
    assert told(db, "r2")[0].endswith("on: Graph labels")


def test_the_files_follow_every_change(db: Database, tmp_path: Path, post: Post, authors: Authors) -> None:
    folder = tmp_path / "forum"
    mirror = ForumMirror(db, CAMPAIGN, folder)
    first = post("r1", title="Strong labels", body="b")
    post("r2", title="Doubts", body="see #1, and @r3")
    anyio.run(mirror.sync)
    assert "@r3 by r2 in [#2 Doubts](posts/0002-doubts.md)" in (folder / "MENTIONS.md").read_text()
    with db.writing() as session:
        edit_post(session, CAMPAIGN, authors["r1"], first.id, title="Weak labels")
        pin(session, CAMPAIGN, authors["ana"], first.id)
        claim_topic(session, CAMPAIGN, authors["r3"], "margins", 1)
    anyio.run(mirror.sync)
    assert sorted(path.name for path in (folder / "posts").iterdir()) == ["0001-weak-labels.md", "0002-doubts.md"]
    assert "## Pinned\n\n- #1 [Weak labels]" in (folder / "README.md").read_text()
    assert "r3 until" in (folder / "CLAIMS.md").read_text()
    with db.writing() as session:
        retract(session, CAMPAIGN, authors["r1"], first.id, "a bug")
        release_topic(session, CAMPAIGN, authors["r3"], 1)
    anyio.run(mirror.sync)
    assert ": a bug\n" in (folder / "posts" / "0001-weak-labels.md").read_text()
    assert "- refers to: #1 (retracted)\n" in (folder / "posts" / "0002-doubts.md").read_text()
    assert "No active claims." in (folder / "CLAIMS.md").read_text()
    assert anyio.run(ForumMirror(db, CAMPAIGN, folder).sync) == 0


def test_a_colleagues_post_and_the_end_of_a_claim_reach_the_files_by_themselves(
    db: Database, tmp_path: Path, authors: Authors
) -> None:
    async def live() -> None:
        keeping = asyncio.create_task(_update_mirror(ForumMirror(db, CAMPAIGN, tmp_path / "forum")))
        try:
            async with asyncio.timeout(60):
                while not await anyio.Path(tmp_path / "forum" / "CLAIMS.md").exists():  # noqa: ASYNC110 - a file
                    await asyncio.sleep(0.02)
                with db.writing() as session:
                    create_post(session, CAMPAIGN, authors["r1"], kind="insight", title="news", body="b")
                    claim_topic(session, CAMPAIGN, authors["r1"], "a moment", 1.5 / 3600)
                for path, word in (("posts/0001-news.md", "b"), ("CLAIMS.md", "a moment"), ("CLAIMS.md", "No active")):
                    file = anyio.Path(tmp_path / "forum" / path)
                    while not (await file.exists() and word in await file.read_text()):  # noqa: ASYNC110 - a file
                        await asyncio.sleep(0.02)
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    asyncio.run(live())
