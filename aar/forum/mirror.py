"""Mirrors the forum as Markdown files, read-only in every sandbox.

One page per thread, an index, the claims and the mentions; the figures of posts are written once, named by digest. Text
by authors is in quoted lines (``> ``). Everything unquoted is written here, so a post cannot fake another author's
comment.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import anyio
import anyio.to_thread
from sqlalchemy import func, literal_column, select
from sqlalchemy.orm import Session

from aar.errors import SetupError
from aar.forum.change_feed import KINDS
from aar.forum.claims import active_claims
from aar.forum.figures import FigureView, find_figure, known_figures
from aar.forum.markdown import FIGURE_DIGITS, FIGURE_SCHEME, replace_image_addresses, shown_figures
from aar.forum.posts import POSTS, pinned_posts, post_views, select_posts, threads
from aar.forum.references import posts_citing, posts_naming, thread_texts
from aar.forum.search import list_posts
from aar.forum.views import ClaimView, CommentView, PostView, ThreadView
from aar.fsutil import DRAFT_SUFFIX, write_atomically
from aar.store import Database, event_log
from aar.store.column_types import now
from aar.store.models import EventRecord, Post
from aar.text import shorten

FOLDER = "figures"


class FigureFiles:
    """Synchronises ``directory/figures`` with the figures of posts.

    Args:
        campaign_id: the campaign of the forum.
        directory: the mirror's own folder.
    """

    def __init__(self, campaign_id: str, directory: Path) -> None:
        self._campaign_id = campaign_id
        self._folder = directory / FOLDER

    def repair(self, session: Session) -> None:
        """Make the folder; remove incomplete and unknown files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o755)  # a sandbox's own user reads here
        paths = list(self._folder.iterdir())
        known = known_figures(
            session, self._campaign_id, [path.stem for path in paths if len(path.stem) == FIGURE_DIGITS]
        )
        for path in paths:
            figure = known.get(path.stem)
            right = figure is not None and path.name == figure.file_name
            if not right or figure is None or hashlib.sha256(path.read_bytes()).hexdigest() != figure.digest:
                path.unlink()

    def write(self, session: Session, shown: Iterable[FigureView]) -> int:
        """Write the missing files; return how many."""
        new = {each.file_name: each.digest for each in shown if not (self._folder / each.file_name).exists()}
        return sum(
            write_atomically(self._folder / name, find_figure(session, self._campaign_id, digest)[1])
            for name, digest in new.items()
        )


_NOT_PLAIN = re.compile(r"[^a-z0-9]+")
_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")
_SLUG_LENGTH = 60


def post_file_name(post_id: int, title: str) -> str:
    """Return a post's file name, such as ``0012-strong-l2-helps.md``; it contains no separator."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = _NOT_PLAIN.sub("-", plain).strip("-")[:_SLUG_LENGTH].strip("-")
    return f"{post_id:04d}-{slug or 'post'}.md"


def thread_page(thread: ThreadView, figures: Mapping[str, FigureView] | None = None) -> str:
    """Render a post with its votes and comments.

    Its figures, by their digits, are files beside it.
    """
    files = {FIGURE_SCHEME + digits: f"../{FOLDER}/{each.file_name}" for digits, each in (figures or {}).items()}
    post = thread.post
    facts = [
        f"- post #{post.id}, {post.kind}, by {_byline(post.author, post.by_human)}, {_at(post.created_at)}",
        f"- votes: {post.score:+d}, comments: {len(thread.comments)}",
    ]
    if post.submission_number is not None:
        facts.append(f"- about submission s{post.submission_number}")
    if post.cites:
        facts.append(f"- cites: {_cited(post)}")
    if post.refers:
        facts.append(f"- refers to: {_referred(post)}")
    if post.families:
        facts.append(f"- families: {', '.join(post.families)}")
    if post.pinned:
        facts.append("- pinned by a person")
    facts += _edit_notes(post)
    parts = [f"# {_escaped(post.title)}", "\n".join(facts), _quoted(replace_image_addresses(post.body, files))]
    for comment in thread.comments:
        head = f"## comment {comment.id} by {_byline(comment.author, comment.by_human)}, {_at(comment.created_at)}"
        parts += ["\n".join([head, *_edit_notes(comment)]), _quoted(replace_image_addresses(comment.body, files))]
    return "\n\n".join(parts) + "\n"


def index_page(total: int, pinned: Sequence[PostView], top: Sequence[PostView], newest: Sequence[PostView]) -> str:
    """Render the index: purpose, pinned posts, most votes, newest posts."""
    parts = [
        "# The forum",
        f"{total} posts, one file each under `posts/`, named by number and title, with their comments and votes. "
        "Quoted lines (`> `) are the authors' text; unquoted lines are the forum's. The files are read-only and "
        "up to date; search them with `grep -ri WORD posts/`. `CLAIMS.md` lists the active claims, "
        "`MENTIONS.md` the mentions; the figures of posts are under `figures/`.",
    ]
    if pinned:
        parts += ["## Pinned", "\n".join(map(_entry, pinned))]
    if top:
        parts += ["## Most votes", "\n".join(map(_entry, top))]
    if newest:
        parts += ["## Newest" if len(newest) < total else "## All, newest first", "\n".join(map(_entry, newest))]
    return "\n\n".join(parts) + "\n"


def claims_page(claims: Sequence[ClaimView]) -> str:
    """Render the claims: researcher, topic and end."""
    lines = [f"- {_escaped(each.author)} until {_at(each.expires_at)}: {_escaped(each.topic)}" for each in claims]
    return "# Claims\n\n" + ("\n".join(lines) or "No active claims.") + "\n"


def mentions_page(mentions: Sequence[tuple[Sequence[str], str, PostView, int | None, datetime]]) -> str:
    """Render the mentions, newest first: names, author, post, comment, time."""
    lines = [
        f"- {' '.join(f'@{name}' for name in names)} by {_escaped(author)} in "
        f"[#{post.id} {_escaped(shorten(post.title, 120))}](posts/{post_file_name(post.id, post.title)})"
        f"{'' if comment_id is None else f', comment {comment_id}'}, {_at(at)}"
        for names, author, post, comment_id, at in mentions
    ]
    return "# Mentions\n\n" + ("\n".join(lines) or "No mentions yet.") + "\n"


def _edit_notes(item: PostView | CommentView) -> list[str]:
    facts = [] if item.edited_at is None else [f"- edited {_at(item.edited_at)}"]
    if item.retracted_at is not None:
        facts.append(f"- RETRACTED {_at(item.retracted_at)}: {_escaped(item.retraction)}")
    return facts


def _entry(post: PostView) -> str:
    about = f", cites {_cited(post)}" if post.cites else ""
    if post.retracted_at is not None:
        about = ", RETRACTED" + about
    link = f"[{_escaped(shorten(post.title, 120))}](posts/{post_file_name(post.id, post.title)})"
    return (
        f"- #{post.id} {link}: {post.kind}{about}, "
        f"by {_byline(post.author, post.by_human)}, votes {post.score:+d}, {post.comments} comments"
    )


def _cited(post: PostView) -> str:
    return ", ".join(f"s{each.number} ({each.status})" for each in post.cites)


def _referred(post: PostView) -> str:
    return ", ".join(f"#{each.id} ({each.status})" if each.status else f"#{each.id}" for each in post.refers)


def _byline(author: str, by_human: bool) -> str:
    return f"{_escaped(author)} (a person)" if by_human else _escaped(author)


def _quoted(body: str) -> str:
    return "\n".join(f"> {line}" if line else ">" for line in body.split("\n"))


def _escaped(line: str) -> str:
    return _MARKUP.sub(r"\\\1", line)


def _at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


_STATUS_EVENTS = ("submission_received", "submission_measured", "submission_rejected", "status_changed")
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
                changed = (
                    self._all_posts(session) if self._cursor is None else self._changed_posts(session, self._cursor)
                )
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

    def _changed_posts(self, session: Session, cursor: int) -> list[int]:
        query = select(EventRecord.kind, EventRecord.payload).where(
            EventRecord.campaign_id == self._campaign_id,
            EventRecord.id > cursor,
            EventRecord.kind.in_(KINDS + _STATUS_EVENTS),
        )
        posts, submissions, retracted = set[int](), set[int](), set[int]()
        for kind, payload in session.execute(query):
            if kind in _STATUS_EVENTS:
                submissions.add(payload["number"])
            elif "post_id" in payload:
                posts.add(payload["post_id"])
                if kind == "text_retracted" and payload["comment_id"] is None:
                    retracted.add(payload["post_id"])
                if kind == "text_edited":
                    self._remove_old_name(session, payload["post_id"])
        posts |= posts_naming(session, self._campaign_id, retracted)
        return sorted(posts | posts_citing(session, self._campaign_id, submissions))

    def _remove_old_name(self, session: Session, post_id: int) -> None:
        """Remove the file of a post whose title changed."""
        title = session.scalar(select(Post.title).where(Post.id == post_id)) or ""
        for path in self._posts.glob(f"{post_id:04d}-*.md"):
            if path.name != post_file_name(post_id, title):
                path.unlink()

    def _all_posts(self, session: Session) -> list[int]:
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
        posts = {
            each.id: each for each in post_views(session, select_posts(self._campaign_id).where(POSTS.id.in_(ids)))
        }
        mentions = [
            (payload["names"], payload["author"], posts[payload["post_id"]], payload["comment_id"], at)
            for at, payload in [(row.at, row.payload) for row in rows]
        ]
        return _replace(self._folder / "MENTIONS.md", mentions_page(mentions))

    def _top(self, session: Session) -> list[PostView]:
        query = select_posts(self._campaign_id).where(POSTS.score > 0, POSTS.retracted_at.is_(None))
        return post_views(session, query.order_by(POSTS.score.desc(), POSTS.id.desc()).limit(_TOP))


def _replace(path: Path, page: str) -> bool:
    return write_atomically(path, page.encode())
