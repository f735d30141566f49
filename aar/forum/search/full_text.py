"""Full-text search over posts and their comments: FTS5 on SQLite, tsvector on PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import TextClause, bindparam, select, text
from sqlalchemy.orm import Session

from aar.forum.posts import check_kind, family_pattern
from aar.forum.queries import posts_by_id
from aar.forum.search.search_terms import split_words
from aar.forum.views import PostView
from aar.store.column_types import UtcDateTime
from aar.store.models import Submission
from aar.text.sanitize import clean_line

_MAX_WORDS = 24

# CROSS JOIN prevents that SQLite searches the index for each row of a campaign, one by one
_FTS5 = """
    SELECT post_id FROM (
        SELECT p.id AS post_id, bm25(post_search, 4.0, 1.0) AS distance
        FROM post_search CROSS JOIN post p ON p.id = post_search.rowid
        WHERE post_search MATCH :words AND {wanted}
        UNION ALL
        SELECT c.post_id, bm25(comment_search) / 2 AS distance
        FROM comment_search CROSS JOIN comment c ON c.id = comment_search.rowid CROSS JOIN post p ON p.id = c.post_id
        WHERE comment_search MATCH :words AND {said} AND {wanted}
    ) GROUP BY post_id ORDER BY min(distance), post_id DESC LIMIT :limit OFFSET :skip
"""
_TSVECTOR = """
    WITH asked AS (SELECT to_tsquery('aar_english', :words) AS query)
    SELECT post_id FROM (
        SELECT p.id AS post_id, ts_rank(p.post_search, query) AS near
        FROM post p, asked WHERE p.post_search @@ query AND {wanted}
        UNION ALL
        SELECT c.post_id, ts_rank(c.comment_search, query) / 2 AS near
        FROM comment c JOIN post p ON p.id = c.post_id, asked WHERE c.comment_search @@ query AND {said} AND {wanted}
    ) AS found GROUP BY post_id ORDER BY max(near) DESC, post_id DESC LIMIT :limit OFFSET :skip
"""
_CITING = {
    "sqlite": "p.id IN (SELECT rowid FROM post_search WHERE post_search MATCH :cited UNION ALL "
    "SELECT d.post_id FROM comment_search CROSS JOIN comment d ON d.id = comment_search.rowid "
    "WHERE comment_search MATCH :cited)",
    "postgresql": "(p.post_search @@ to_tsquery('aar_english', :cited) OR p.id IN "
    "(SELECT d.post_id FROM comment d WHERE d.comment_search @@ to_tsquery('aar_english', :cited)))",
}
_LISTED = "SELECT p.id FROM post p WHERE {wanted} ORDER BY p.id {order} LIMIT :limit"
_MOST = 100
_MOST_LISTED = 500
_MOMENTS = ("since", "until")


@dataclass(frozen=True, slots=True)
class PostFilter:
    """A filter of posts; None means no condition.

    Args:
        kind: one of ``POST_KINDS``.
        author: a researcher's name, or a person's with or without "human:".
        submission: posts about this submission (7 for s7), or with its name in their text or comments.
        since: created at this time or later.
        until: created before this time.
        retracted: whether retracted posts and comments count too.
        family: posts labelled with this family of ideas.
        researcher_id: posts by this researcher, but not by a person of that name.
    """

    kind: str | None = None
    author: str | None = None
    submission: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    retracted: bool = False
    family: str | None = None
    researcher_id: str | None = None


def full_text_search(
    session: Session,
    campaign_id: str,
    query: str,
    *,
    limit: int = 20,
    skip: int = 0,
    only: PostFilter = PostFilter(),
) -> list[PostView]:
    """Return posts with the words of ``query`` in title, body or comments, best first.

    Words are matched by stem ("labels" finds "label"). Posts with all words come first; only when there is none do
    posts with some of them count. Any text is a valid query: it is cut into words, and nothing in it is an operator.

    Args:
        session: for reading.
        campaign_id: the campaign of the forum.
        query: free text; its first 24 words count.
        limit: most posts to return, at most 100.
        skip: how many of the best to skip: the next page's cursor.
        only: which posts count.

    Raises:
        UsageError: unknown kind or family in the filter.
    """
    words = [f'"{word}"' for word in split_words(query[:4000])[:_MAX_WORDS]]
    wanted, asked = _conditions(session, campaign_id, only)
    if not words or limit < 1:
        return []
    sqlite = session.get_bind().dialect.name == "sqlite"
    template, every, some = (_FTS5, " AND ", " OR ") if sqlite else (_TSVECTOR, " & ", " | ")
    if not sqlite:
        words = [word.replace('"', "'") for word in words]
    said = "TRUE" if only.retracted else "c.retracted_at IS NULL"
    statement = _statement(template.format(wanted=wanted, said=said), *(each for each in _MOMENTS if each in asked))
    skip = min(max(skip, 0), 2**31)
    for joint in (every, some):
        asked |= {"words": joint.join(words), "limit": min(limit, _MOST), "skip": skip}
        ids = list(session.scalars(statement, asked))
        if ids:
            found = {view.id: view for view in posts_by_id(session, campaign_id, ids)}
            return [found[post_id] for post_id in ids if post_id in found]
        if skip and session.scalars(statement, asked | {"limit": 1, "skip": 0}).first() is not None:
            return []  # the page before was the last one of posts with every word
    return []


def filtered_posts(
    session: Session,
    campaign_id: str,
    *,
    limit: int = 20,
    after: int = 0,
    newest_first: bool = True,
    only: PostFilter = PostFilter(),
) -> list[PostView]:
    """Return the posts that match a filter, by id: a search without words.

    Args:
        session: for reading.
        campaign_id: the campaign of the forum.
        limit: most posts to return, at most 500.
        after: the id of the previous page's last post; 0 for the first page in either order.
        newest_first: newest first instead of oldest first.
        only: which posts count.

    Raises:
        UsageError: unknown kind or family in the filter.
    """
    wanted, asked = _conditions(session, campaign_id, only)
    if after > 0:
        wanted, asked = f"{wanted} AND p.id {'<' if newest_first else '>'} :after", asked | {"after": after}
    listed = _LISTED.format(wanted=wanted, order="DESC" if newest_first else "ASC")
    statement = _statement(listed, *(each for each in _MOMENTS if each in asked))
    ids = list(session.scalars(statement, asked | {"limit": min(max(limit, 0), _MOST_LISTED)}))
    found = {view.id: view for view in posts_by_id(session, campaign_id, ids)}
    return [found[post_id] for post_id in ids if post_id in found]


@lru_cache(maxsize=256)
def _statement(sql: str, *moments: str) -> TextClause:
    return text(sql).bindparams(*(bindparam(name, type_=UtcDateTime) for name in moments))


def _conditions(session: Session, campaign_id: str, only: PostFilter) -> tuple[str, dict[str, Any]]:
    """Return SQL conditions on the post ``p``, made of constants, with their bound values."""
    conditions, asked = ["p.campaign_id = :campaign"], dict[str, Any](campaign=campaign_id)
    if only.kind is not None:
        check_kind(only.kind)
        conditions.append("p.kind = :kind")
        asked["kind"] = only.kind
    if only.family is not None:
        conditions.append("CAST(p.families AS TEXT) LIKE :family")
        asked["family"] = family_pattern(only.family)
    if only.author is not None:
        conditions.append("p.author IN (:author, :human)")
        asked |= {"author": clean_line(only.author), "human": f"human:{clean_line(only.author)}"}
    if only.researcher_id is not None:
        conditions.append("p.researcher_id = :researcher")
        asked["researcher"] = only.researcher_id
    if only.submission is not None:
        about = select(Submission.id).where(
            Submission.campaign_id == campaign_id, Submission.number == min(only.submission, 2**31 - 1)
        )
        conditions.append(f"({_CITING[session.get_bind().dialect.name]} OR p.submission_id = :about)")
        word = f"s{only.submission}"
        quoted = f'"{word}"' if session.get_bind().dialect.name == "sqlite" else f"'{word}'"
        asked |= {"cited": quoted, "about": session.scalar(about) or 0}
    moments = (("p.created_at >= :since", "since", only.since), ("p.created_at < :until", "until", only.until))
    for condition, name, moment in moments:
        if moment is not None:
            conditions.append(condition)
            asked[name] = moment
    if not only.retracted:
        conditions.append("p.retracted_at IS NULL")
    return " AND ".join(conditions), asked
