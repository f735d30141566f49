"""Mirrors the forum as Markdown files, read-only in every sandbox."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import anyio
import anyio.to_thread
from sqlalchemy import func, literal_column, select
from sqlalchemy.orm import Session

from aar.errors import SetupError
from aar.forum.change_feed import KINDS
from aar.forum.claims import active_claims
from aar.forum.figures.figure_markdown import shown_figures
from aar.forum.figures.figure_store import known_figures
from aar.forum.mirror.figure_files import FigureFiles
from aar.forum.mirror.mirror_pages import claims_page, index_page, mentions_page, post_file_name, thread_page
from aar.forum.posts import list_posts
from aar.forum.queries import pinned_posts, post_views, select_posts, threads
from aar.forum.references.citations import posts_citing, posts_naming
from aar.forum.references.reference_lookup import thread_texts
from aar.forum.views import PostView, ThreadView
from aar.fsutil import DRAFT_SUFFIX, write_atomically
from aar.store import Database, event_log
from aar.store.column_types import now
from aar.store.models import EventRecord, Post

_STANDING = ("submission_received", "submission_measured", "submission_rejected", "status_changed")
_TOP, _NEWEST, _MENTIONS = 20, 300, 200


class ForumMirror:
    """Synchronises ``directory`` with the forum.

    The files are ``README.md`` (an index), ``CLAIMS.md``, ``MENTIONS.md``, ``posts/0001-slug.md``, and their figures
    under ``figures/``.

    The first ``sync`` compares every file and rewrites those that differ, so a mirror needs no state of its own and
    survives any crash; later ones read only the events since the last. A file is replaced as a whole, so a reader never
    sees half of one.

    Args:
        db: the open database.
        campaign_id: the campaign of the forum.
        directory: the mirror's own folder; files in it that are not posts are removed.
    """

    def __init__(self, db: Database, campaign_id: str, directory: Path) -> None:
        self._db = db
        self._campaign_id = campaign_id
        self._folder = directory
        self._posts = directory / "posts"
        self._figures = FigureFiles(campaign_id, directory)
        self._cursor: int | None = None
        self._next_expiry: datetime | None = None
        self._lock = anyio.Lock()

    async def sync(self) -> int:
        """Update the files in a thread; return the number of files written.

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
                expired = self._next_expiry is not None and now() >= self._next_expiry
                if latest == self._cursor and not expired:
                    return 0
                changed = self._everything(session) if self._cursor is None else self._changed(session, self._cursor)
                written = sum(self._write_post(session, each) for each in threads(session, self._campaign_id, changed))
                if changed or self._cursor is None:
                    written += self._write_index(session) + self._write_mentions(session)
                written += self._write_claims(session)
        except OSError as error:
            self._cursor = None  # the next call checks every file again
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
            EventRecord.kind.in_(KINDS + _STANDING),
        )
        posts, submissions, taken_back = set[int](), set[int](), set[int]()
        for kind, payload in session.execute(query):
            if kind in _STANDING:
                submissions.add(payload["number"])
            elif "post_id" in payload:
                posts.add(payload["post_id"])
                if kind == "text_retracted" and payload["comment_id"] is None:
                    taken_back.add(payload["post_id"])
                if kind == "text_edited":
                    self._unname(session, payload["post_id"])
        posts |= posts_naming(session, self._campaign_id, taken_back)
        return sorted(posts | posts_citing(session, self._campaign_id, submissions))

    def _unname(self, session: Session, post_id: int) -> None:
        """Remove the file of a post whose title changed."""
        title = session.scalar(select(Post.title).where(Post.id == post_id)) or ""
        for path in self._posts.glob(f"{post_id:04d}-*.md"):
            if path.name != post_file_name(post_id, title):
                path.unlink()

    def _everything(self, session: Session) -> list[int]:
        """Return all posts; make the folders, and remove files without a post."""
        self._posts.mkdir(parents=True, exist_ok=True)
        self._figures.repair(session)
        for folder in (self._posts.parent, self._posts):
            folder.chmod(0o755)  # a sandbox's own user reads here
        query = select(Post.id, Post.title).where(Post.campaign_id == self._campaign_id).order_by(Post.id)
        rows = session.execute(query).all()
        expected = {post_file_name(row.id, row.title) for row in rows}
        for path in self._posts.iterdir():
            if path.name not in expected:
                path.unlink()
        for path in self._posts.parent.glob(DRAFT_SUFFIX + "*"):
            path.unlink()
        return [row.id for row in rows]

    def _write_post(self, session: Session, thread: ThreadView) -> int:
        figures = known_figures(session, self._campaign_id, shown_figures(thread_texts(thread)))
        written = self._figures.write(session, figures.values())  # before what shows them
        page = thread_page(thread, figures)
        return written + _replace(self._posts / post_file_name(thread.post.id, thread.post.title), page)

    def _write_index(self, session: Session) -> bool:
        count = select(func.count()).select_from(Post).where(Post.campaign_id == self._campaign_id)
        newest = list_posts(session, self._campaign_id, limit=_NEWEST, newest_first=True)
        page = index_page(
            session.scalar(count) or 0, pinned_posts(session, self._campaign_id), self._top(session), newest
        )
        return _replace(self._folder / "README.md", page)

    def _write_claims(self, session: Session) -> bool:
        claims = active_claims(session, self._campaign_id)
        self._next_expiry = claims[0].expires_at if claims else None
        return _replace(self._folder / "CLAIMS.md", claims_page(claims))

    def _write_mentions(self, session: Session) -> bool:
        # literal, not bound: databases need this to know that the index of mentions covers them
        query = select(EventRecord.at, EventRecord.payload).where(
            EventRecord.campaign_id == self._campaign_id, EventRecord.kind == literal_column("'researchers_mentioned'")
        )
        rows = session.execute(query.order_by(EventRecord.id.desc()).limit(_MENTIONS)).all()
        ids = {row.payload["post_id"] for row in rows}
        posts = {each.id: each for each in post_views(session, select_posts(self._campaign_id).where(Post.id.in_(ids)))}
        told = [
            (said["names"], said["author"], posts[said["post_id"]], said["comment_id"], at)
            for at, said in [(row.at, row.payload) for row in rows]
        ]
        return _replace(self._folder / "MENTIONS.md", mentions_page(told))

    def _top(self, session: Session) -> list[PostView]:
        query = select_posts(self._campaign_id).where(Post.score > 0, Post.retracted_at.is_(None))
        return post_views(session, query.order_by(Post.score.desc(), Post.id.desc()).limit(_TOP))


def _replace(path: Path, page: str) -> bool:
    return write_atomically(path, page.encode())
