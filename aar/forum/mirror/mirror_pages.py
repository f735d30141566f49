"""Renders the mirror's Markdown: one page per thread, an index, and the claims.

Text by authors is in quoted lines (``> ``). Everything unquoted is written here, so a post cannot fake another author's
comment.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime

from aar.forum.figures.figure_markdown import SCHEME, replace_image_addresses
from aar.forum.figures.figure_store import FigureView
from aar.forum.mirror.figure_files import FOLDER
from aar.forum.views import ClaimView, CommentView, PostView, ThreadView
from aar.text.sanitize import shorten

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
    files = {SCHEME + digits: f"../{FOLDER}/{each.file_name}" for digits, each in (figures or {}).items()}
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
    facts += _fate(post)
    parts = [f"# {_escaped(post.title)}", "\n".join(facts), _quoted(replace_image_addresses(post.body, files))]
    for comment in thread.comments:
        head = f"## comment {comment.id} by {_byline(comment.author, comment.by_human)}, {_at(comment.created_at)}"
        parts += ["\n".join([head, *_fate(comment)]), _quoted(replace_image_addresses(comment.body, files))]
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


def _fate(said: PostView | CommentView) -> list[str]:
    facts = [] if said.edited_at is None else [f"- edited {_at(said.edited_at)}"]
    if said.retracted_at is not None:
        facts.append(f"- RETRACTED {_at(said.retracted_at)}: {_escaped(said.retraction)}")
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
