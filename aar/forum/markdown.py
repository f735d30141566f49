"""The forum's Markdown: one page a thread, and an index.

What an author wrote stands in quoted lines (``> ``); everything unquoted is written here. So a post cannot pretend to
hold somebody else's comment.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime

from aar.forum.text import shorten
from aar.forum.views import PostView, ThreadView

_NOT_PLAIN = re.compile(r"[^a-z0-9]+")
_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")
_SLUG_LENGTH = 60


def file_name(post_id: int, title: str) -> str:
    """The name of a post's file, such as ``0012-strong-l2-helps.md``; it never changes and holds no separator."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = _NOT_PLAIN.sub("-", plain).strip("-")[:_SLUG_LENGTH].strip("-")
    return f"{post_id:04d}-{slug or 'post'}.md"


def thread_page(thread: ThreadView) -> str:
    """A post with its votes and comments as Markdown."""
    post = thread.post
    facts = [
        f"- post #{post.id}, {post.kind}, by {_byline(post.author, post.by_human)}, {_at(post.created_at)}",
        f"- votes: {post.score:+d}, comments: {len(thread.comments)}",
    ]
    if post.submission_number is not None:
        facts.append(f"- about submission s{post.submission_number}")
    if post.cites:
        facts.append(f"- cites: {_cited(post)}")
    parts = [f"# {_escaped(post.title)}", "\n".join(facts), _quoted(post.body)]
    for comment in thread.comments:
        parts += [
            f"## comment {comment.id} by {_byline(comment.author, comment.by_human)}, {_at(comment.created_at)}",
            _quoted(comment.body),
        ]
    return "\n\n".join(parts) + "\n"


def index_page(total: int, top: Sequence[PostView], newest: Sequence[PostView]) -> str:
    """The index: what the folder is, the posts with most votes, and the newest ones."""
    parts = [
        "# The forum",
        f"{total} posts, one file each under `posts/`, named by number and title, with their comments and votes. "
        "Quoted lines (`> `) are the authors' own words; unquoted lines are the forum's. The files are read-only and "
        "kept up to date; search them with `grep -ri WORD posts/`.",
    ]
    if top:
        parts += ["## Most votes", "\n".join(map(_entry, top))]
    if newest:
        parts += ["## Newest" if len(newest) < total else "## All, newest first", "\n".join(map(_entry, newest))]
    return "\n\n".join(parts) + "\n"


def _entry(post: PostView) -> str:
    about = f", cites {_cited(post)}" if post.cites else ""
    link = f"[{_escaped(shorten(post.title, 120))}](posts/{file_name(post.id, post.title)})"
    return (
        f"- #{post.id} {link}: {post.kind}{about}, "
        f"by {_byline(post.author, post.by_human)}, votes {post.score:+d}, {post.comments} comments"
    )


def _cited(post: PostView) -> str:
    return ", ".join(f"s{each.number} ({each.status})" for each in post.cites)


def _byline(author: str, by_human: bool) -> str:
    return f"{_escaped(author)} (a person)" if by_human else _escaped(author)


def _quoted(body: str) -> str:
    return "\n".join(f"> {line}" if line else ">" for line in body.split("\n"))


def _escaped(line: str) -> str:
    return _MARKUP.sub(r"\\\1", line)


def _at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
