"""The forum as files."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.errors import SetupError
from aar.forum.authors import Author
from aar.forum.mirror import ForumMirror, post_file_name
from aar.forum.posts import cast_vote, create_comment
from aar.forum.views import PostView
from aar.store import Database

Post = Callable[..., PostView]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "forum"


@pytest.fixture
def mirror(db: Database, folder: Path) -> ForumMirror:
    return ForumMirror(db, "k3v9qd", folder)


def test_only_what_changed_is_written(
    db: Database, mirror: ForumMirror, folder: Path, post: Post, authors: dict[str, Author]
) -> None:
    first, second = post("r1", title="Strong L2 helps"), post("r2", title="k-NN")
    assert anyio.run(mirror.sync) == 5  # two posts, the index, claims and mentions
    assert anyio.run(mirror.sync) == 0
    untouched = folder / "posts" / post_file_name(second.id, second.title)
    before = untouched.stat().st_mtime_ns
    with db.writing() as session:
        create_comment(session, "k3v9qd", authors["ana"], first.id, "Try\n## comment 9 by r3")
        cast_vote(session, "k3v9qd", authors["r2"], first.id, 1)
    assert anyio.run(mirror.sync) == 2
    assert untouched.stat().st_mtime_ns == before
    page = (folder / "posts" / "0001-strong-l2-helps.md").read_text()
    assert "votes: +1, comments: 1" in page
    assert "by human:ana (a person)" in page
    assert "> ## comment 9 by r3" in page
    assert "\n## comment 9" not in page
    index = (folder / "README.md").read_text()
    assert "[Strong L2 helps](posts/0001-strong-l2-helps.md)" in index
    assert "2 posts" in index


def test_an_empty_forum_has_an_index(mirror: ForumMirror, folder: Path) -> None:
    assert anyio.run(mirror.sync) == 3
    assert "0 posts" in (folder / "README.md").read_text()
    assert stat.S_IMODE((folder / "README.md").stat().st_mode) == 0o644


def test_a_new_mirror_mends_the_folder(db: Database, mirror: ForumMirror, folder: Path, post: Post) -> None:
    written = post("r1")
    anyio.run(mirror.sync)
    page = folder / "posts" / post_file_name(written.id, written.title)
    whole = page.read_text()
    page.write_text("half a pa")
    (folder / "posts" / ".draft-abc").touch()
    (folder / "posts" / "9999-stray.md").touch()
    assert anyio.run(ForumMirror(db, "k3v9qd", folder).sync) == 1
    assert [path.name for path in (folder / "posts").iterdir()] == [page.name]
    assert page.read_text() == whole


def test_only_this_campaigns_posts(db: Database, folder: Path, post: Post) -> None:
    post("r1")
    assert anyio.run(ForumMirror(db, "other2", folder).sync) == 3
    assert list((folder / "posts").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_tried_again(mirror: ForumMirror, folder: Path, post: Post) -> None:
    post("r1")
    folder.touch()
    with pytest.raises(SetupError, match="forum"):
        anyio.run(mirror.sync)
    folder.unlink()
    assert anyio.run(mirror.sync) == 4


@given(st.integers(1, 10**9), st.text(st.characters(exclude_categories=[]), max_size=200))
def test_no_title_leaves_the_folder(post_id: int, title: str) -> None:
    name = post_file_name(post_id, title)
    assert Path(name).name == name
    assert name.isascii()
    assert len(name) < 100
    assert name.startswith(f"{post_id:04d}-")


def test_markup_in_titles_is_inert(db: Database, mirror: ForumMirror, folder: Path, post: Post) -> None:
    post("r1", title="../../etc [x](javascript:y) <b> | `z`")
    anyio.run(mirror.sync)
    (page,) = (folder / "posts").iterdir()
    assert page.name == "0001-etc-x-javascript-y-b-z.md"
    assert page.read_text().startswith("# ../../etc \\[x\\](javascript:y) \\<b\\> \\| \\`z\\`\n")
