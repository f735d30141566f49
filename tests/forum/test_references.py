"""Posts that cite submissions say how these stand now: in views, and in the files that researchers read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from sqlalchemy import select

from aar.events import StatusChanged
from aar.forum.authors import Author
from aar.forum.mirror import ForumMirror
from aar.forum.posts import create_comment, get_thread
from aar.forum.search import full_text_search, list_posts
from aar.forum.views import Citation, PostView
from aar.store import Database
from aar.store.event_log import append_event
from aar.store.models import Submission

Post = Callable[..., PostView]


@pytest.fixture
def submissions(db: Database) -> None:
    """s1 to s12 of r1; another campaign has an s13."""
    with db.writing() as session:
        for number in range(1, 14):
            campaign = "k3v9qd" if number < 13 else "other2"
            session.add(
                Submission(
                    campaign_id=campaign,
                    number=number,
                    researcher_id=f"{campaign}-r1",
                    digest=f"{number:064d}",
                    title="t",
                    claim="c",
                    state="measured",
                    status="measured",
                )
            )


def change(db: Database, number: int, status: str) -> None:
    with db.writing() as session:
        found = session.scalars(
            select(Submission).where(Submission.campaign_id == "k3v9qd", Submission.number == number)
        ).one()
        found.status = status
        changed = StatusChanged(
            submission_id=found.id, number=number, old="measured", new=status, cause="it came out so", by="scorer"
        )
        append_event(session, "k3v9qd", changed)


@pytest.mark.usefixtures("submissions")
@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("s7 beats s2, and s7 holds", [7, 2]),
        ("(s7) [s2]: s3's parent; s4.", [7, 2, 3, 4]),
        ("see submissions/s7 or x.s7, s7.py, ts7, s7x, s-7, S7, s07, s0", []),
        ("s13 and s99 are nobody's here", []),
        ("s1 s10 s12", [1, 10, 12]),
    ],
)
def test_what_is_a_citation(post: Post, text: str, cited: list[int]) -> None:
    assert [each.number for each in post(body=text).cites] == cited


@pytest.mark.usefixtures("submissions")
def test_every_view_of_a_post_tells_how_it_stands_now(db: Database, post: Post, authors: dict[str, Author]) -> None:
    written = post(title="Better than s3", body="Strong", submission_number=2)
    post(title="Nothing cited")
    change(db, 3, "refuted")
    stands = (Citation(2, "measured"), Citation(3, "refuted"))
    with db.writing() as session:
        create_comment(session, "k3v9qd", authors["r2"], written.id, "as s5 said")
    with db.reading() as session:
        assert [each.cites for each in list_posts(session, "k3v9qd")] == [stands, ()]
        assert [each.cites for each in full_text_search(session, "k3v9qd", "strong")] == [stands]
        assert get_thread(session, "k3v9qd", written.id).post.cites == (*stands, Citation(5, "measured"))


@pytest.mark.usefixtures("submissions")
def test_the_mirror_rewrites_only_what_cites_it(
    db: Database, tmp_path: Path, post: Post, authors: dict[str, Author]
) -> None:
    mirror = ForumMirror(db, "k3v9qd", tmp_path / "forum")
    about, said, other = post(title="one", submission_number=7), post(title="two"), post(title="three", body="s1 only")
    with db.writing() as session:
        create_comment(session, "k3v9qd", authors["r2"], said.id, "s7 again")
    anyio.run(mirror.sync)
    page = tmp_path / "forum" / "posts" / "0001-one.md"
    assert "- cites: s7 (measured)\n" in page.read_text()
    change(db, 7, "refuted")
    assert anyio.run(mirror.sync) == 3  # the two pages and the index
    assert "- cites: s7 (refuted)\n" in page.read_text()
    assert "- cites: s7 (refuted)\n" in (tmp_path / "forum" / "posts" / "0002-two.md").read_text()
    assert "cites s7 (refuted)" in (tmp_path / "forum" / "README.md").read_text()
    assert (about.id, other.id) == (1, 3)
    change(db, 9, "confirmed")
    assert anyio.run(mirror.sync) == 0
    assert anyio.run(ForumMirror(db, "k3v9qd", tmp_path / "forum").sync) == 0


@pytest.mark.usefixtures("submissions")
def test_a_wall_of_numbers_is_bounded(post: Post) -> None:
    assert len(post(body=" ".join(f"s{number}" for number in range(1, 3000))).cites) == 12
