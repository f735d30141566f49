"""The whole forum as Markdown files in a folder, which every sandbox sees read-only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import anyio
import anyio.to_thread
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.errors import SetupError
from aar.forum.citations import posts_citing
from aar.forum.markdown import file_name, index_page, thread_page
from aar.forum.posts import list_posts
from aar.forum.queries import post_views, select_posts, threads
from aar.forum.views import PostView, ThreadView
from aar.store import Database, event_log
from aar.store.models import EventRecord, Post

_KINDS = ("post_created", "comment_created", "vote_cast")
_STANDING = ("submission_received", "submission_measured", "submission_rejected", "status_changed")
_TOP, _NEWEST = 20, 300
_DRAFT = ".draft-"


class ForumMirror:
    """Keeps ``directory`` equal to the forum: ``README.md`` (an index) and ``posts/0001-slug.md``.

    The first ``sync`` compares every file and mends what differs, so a mirror needs no state of its own and survives
    any crash; later ones read only the events since the last. A file is replaced whole, so a reader never sees half.

    Args:
        db: the open database.
        campaign_id: whose forum.
        directory: the mirror's own folder; files in it that are not posts are removed.
    """

    def __init__(self, db: Database, campaign_id: str, directory: Path) -> None:
        self._db = db
        self._campaign_id = campaign_id
        self._index = directory / "README.md"
        self._posts = directory / "posts"
        self._cursor: int | None = None
        self._lock = anyio.Lock()

    async def sync(self) -> int:
        """Bring the files up to date, in a thread; returns the number of files written.

        Raises:
            DatabaseError: the forum cannot be read.
            SetupError: the folder cannot be written (a full disk, say); the next call tries again.
        """
        async with self._lock:
            return await anyio.to_thread.run_sync(self._sync)

    def _sync(self) -> int:
        try:
            with self._db.reading() as session:
                latest = event_log.latest_event_id(session, self._campaign_id)
                if latest == self._cursor:
                    return 0
                changed = self._everything(session) if self._cursor is None else self._changed(session, self._cursor)
                written = sum(map(self._write_post, threads(session, self._campaign_id, changed)))
                if changed or self._cursor is None:
                    written += self._write_index(session)
        except OSError as error:
            self._cursor = None  # the next call looks at every file again
            raise SetupError(
                f"cannot write the forum's files at {self._posts.parent}: {error.strerror or error}",
                "Free some space, or set AAR_HOME to a writable folder",
            ) from error
        self._cursor = latest
        return written

    def _changed(self, session: Session, cursor: int) -> list[int]:
        query = select(EventRecord.kind, EventRecord.payload).where(
            EventRecord.campaign_id == self._campaign_id,
            EventRecord.id > cursor,
            EventRecord.kind.in_(_KINDS + _STANDING),
        )
        posts, submissions = set[int](), set[int]()
        for kind, payload in session.execute(query):
            if kind in _KINDS:
                posts.add(payload["post_id"])
            else:
                submissions.add(payload["number"])
        return sorted(posts | posts_citing(session, self._campaign_id, submissions))

    def _everything(self, session: Session) -> list[int]:
        """All posts; makes the folders and removes files that no post accounts for."""
        self._posts.mkdir(parents=True, exist_ok=True)
        for folder in (self._posts.parent, self._posts):
            folder.chmod(0o755)  # a sandbox's own user reads here
        query = select(Post.id, Post.title).where(Post.campaign_id == self._campaign_id).order_by(Post.id)
        rows = session.execute(query).all()
        expected = {file_name(row.id, row.title) for row in rows}
        for path in self._posts.iterdir():
            if path.name not in expected:
                path.unlink()
        for path in self._posts.parent.glob(_DRAFT + "*"):
            path.unlink()
        return [row.id for row in rows]

    def _write_post(self, thread: ThreadView) -> bool:
        return _replace(self._posts / file_name(thread.post.id, thread.post.title), thread_page(thread))

    def _write_index(self, session: Session) -> bool:
        count = select(func.count()).select_from(Post).where(Post.campaign_id == self._campaign_id)
        newest = list_posts(session, self._campaign_id, limit=_NEWEST, newest_first=True)
        return _replace(self._index, index_page(session.scalar(count) or 0, self._top(session), newest))

    def _top(self, session: Session) -> list[PostView]:
        query = select_posts(self._campaign_id).where(Post.score > 0)
        return post_views(session, query.order_by(Post.score.desc(), Post.id.desc()).limit(_TOP))


def _replace(path: Path, page: str) -> bool:
    """Write the page at once, unless it is there already; returns whether it was written."""
    content = page.encode()
    try:
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        pass  # a new page
    descriptor, draft = tempfile.mkstemp(prefix=_DRAFT, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
    return True
