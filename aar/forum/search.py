"""Searches posts and their comments: by words, and for near-duplicates.

A search takes the full-text index of the database: FTS5 on SQLite, tsvector on PostgreSQL. A word is a run of letters
and digits, without accents: ``train_step.py`` is three words and ``0.97`` two. SQLite's tokenizer splits this way by
itself; for PostgreSQL, migration 0011 splits the text before it is indexed, by the same rule.

Candidates for near-duplicates come from the same index: the longest words of the text, which tend to be its rare
ones, in pairs, newest posts first, so that the cost does not grow with the forum. They are compared by the cosine of
TF-IDF vectors (Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval": log tf, smoothed idf)
with document frequencies among the candidates. ``TfidfVectorizer`` of scikit-learn gives the same numbers, but takes
15 ms for twelve candidates instead of 0.8 ms, at every post, and its import takes longer than that of the whole
forum.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Row, TextClause, bindparam, select, text
from sqlalchemy.orm import Session

from aar.errors import UsageError
from aar.families import normalize_family
from aar.forum.markdown import Document
from aar.forum.posts import POSTS, check_kind, post_views, posts_by_id, select_posts
from aar.forum.views import PostView
from aar.store.column_types import UtcDateTime
from aar.store.models import Post, Submission
from aar.text import clean_line

_WORD = re.compile(r"[^\W_]+")
_MAX_WORD_LENGTH = 500
"""Letters of a word; PostgreSQL indexes none over 2,046 bytes."""
_MAX_QUERY_WORDS = 24

# CROSS JOIN prevents that SQLite searches the index for each row of a campaign, one by one
_SEARCH_SQLITE = """
    SELECT post_id FROM (
        SELECT p.id AS post_id, bm25(post_search, 4.0, 1.0) AS distance
        FROM post_search CROSS JOIN post p ON p.id = post_search.rowid
        WHERE post_search MATCH :words AND {wanted}
        UNION ALL
        SELECT c.post_id, bm25(comment_search) / 2 AS distance
        FROM comment_search CROSS JOIN comment c ON c.id = comment_search.rowid CROSS JOIN post p ON p.id = c.post_id
        WHERE comment_search MATCH :words AND {comments} AND {wanted}
    ) GROUP BY post_id ORDER BY min(distance), post_id DESC LIMIT :limit OFFSET :skip
"""
_SEARCH_POSTGRESQL = """
    WITH search AS (SELECT to_tsquery('aar_english', :words) AS query)
    SELECT post_id FROM (
        SELECT p.id AS post_id, ts_rank(p.post_search, query) AS rank
        FROM post p, search WHERE p.post_search @@ query AND {wanted}
        UNION ALL
        SELECT c.post_id, ts_rank(c.comment_search, query) / 2 AS rank
        FROM comment c JOIN post p ON p.id = c.post_id, search
        WHERE c.comment_search @@ query AND {comments} AND {wanted}
    ) AS found GROUP BY post_id ORDER BY max(rank) DESC, post_id DESC LIMIT :limit OFFSET :skip
"""
_CITING = {
    "sqlite": "p.id IN (SELECT rowid FROM post_search WHERE post_search MATCH :cited UNION ALL "
    "SELECT d.post_id FROM comment_search CROSS JOIN comment d ON d.id = comment_search.rowid "
    "WHERE comment_search MATCH :cited)",
    "postgresql": "(p.post_search @@ to_tsquery('aar_english', :cited) OR p.id IN "
    "(SELECT d.post_id FROM comment d WHERE d.comment_search @@ to_tsquery('aar_english', :cited)))",
}
_MAX_RESULTS = 100
_MAX_LISTED = 500
_MOMENTS = ("since", "until")

THRESHOLD = 0.6
"""Cosine from which a post counts as near. Paraphrases of one finding are above it, two findings of one topic below."""
_SHARED = THRESHOLD**2
"""Least share of a text's words in a near one: a cosine is at most the root of the squared weight that both share over
the text's whole, and shared words are no rarer than the others."""
_COMPARED_LENGTH = 4000
_MAX_RARE_WORDS, _MAX_CANDIDATES, _MAX_SIMILAR = 12, 12, 3
_LONG_WORD = re.compile(r"[^\W_]{3,}")
_FUNCTION_WORDS = frozenset(
    """
    the and for with that this from are was were not but has have had its all can than then when while which what who
    how why our you your they their them there here into onto over under more most less only also each one two per any
    will would could should may might did does done been being because
    """.split()  # noqa: SIM905 - a list of so many words is harder to read
)

_CANDIDATES_SQLITE = text(
    "SELECT p.id, p.title, substr(p.body, 1, :longest) AS body, p.author "
    "FROM post_search CROSS JOIN post p ON p.id = post_search.rowid WHERE post_search MATCH :words "
    "AND p.campaign_id = :campaign AND p.retracted_at IS NULL AND p.id <> :own ORDER BY post_search.rowid DESC LIMIT :n"
)
_CANDIDATES_POSTGRESQL = text(
    "SELECT p.id, p.title, substr(p.body, 1, :longest) AS body, p.author "
    "FROM post p WHERE p.post_search @@ to_tsquery('aar_english', :words) "
    "AND p.campaign_id = :campaign AND p.retracted_at IS NULL AND p.id <> :own ORDER BY p.id DESC LIMIT :n"
)
_OWN = select(Post.__table__.c.title, Post.__table__.c.body).where(Post.__table__.c.id == bindparam("post"))


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


@dataclass(frozen=True, slots=True)
class SimilarPost:
    """A post near another text, with the cosine of the two, ``THRESHOLD`` to 1."""

    id: int
    title: str
    author: str
    similarity: float


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
    words = [f'"{word}"' for word in split_words(query[:4000])[:_MAX_QUERY_WORDS]]
    wanted, params = _conditions(session, campaign_id, only)
    if not words or limit < 1:
        return []
    sqlite = session.get_bind().dialect.name == "sqlite"
    template, every, some = (_SEARCH_SQLITE, " AND ", " OR ") if sqlite else (_SEARCH_POSTGRESQL, " & ", " | ")
    if not sqlite:
        words = [word.replace('"', "'") for word in words]
    comments = "TRUE" if only.retracted else "c.retracted_at IS NULL"
    statement = _statement(
        template.format(wanted=wanted, comments=comments), *(each for each in _MOMENTS if each in params)
    )
    skip = min(max(skip, 0), 2**31)
    for joint in (every, some):
        params |= {"words": joint.join(words), "limit": min(limit, _MAX_RESULTS), "skip": skip}
        ids = list(session.scalars(statement, params))
        if ids:
            found = {view.id: view for view in posts_by_id(session, campaign_id, ids)}
            return [found[post_id] for post_id in ids if post_id in found]
        if skip and session.scalars(statement, params | {"limit": 1, "skip": 0}).first() is not None:
            return []  # the page before was the last one of posts with every word
    return []


def list_posts(
    session: Session,
    campaign_id: str,
    *,
    limit: int = 50,
    after: int = 0,
    newest_first: bool = False,
    only: PostFilter = PostFilter(retracted=True),
) -> list[PostView]:
    """Return one page of posts, by id: a search without words.

    Args:
        session: for reading.
        campaign_id: the campaign of the forum.
        limit: most posts to return, at most 500.
        after: the id of the previous page's last post; 0 for the first page in either order.
        newest_first: newest first instead of oldest first.
        only: which posts count.

    Raises:
        UsageError: unknown kind or family in the filter, or a limit below 1.
    """
    if limit < 1:
        raise UsageError(f"invalid page size: got {limit}, expected 1 to 500", "Request 1 to 500 posts")
    conditions, params = _conditions(session, campaign_id, only)
    query = select_posts(campaign_id).where(_statement(conditions, *(each for each in _MOMENTS if each in params)))
    after = min(max(after, 0), 2**63 - 1)
    if after:
        query = query.where(POSTS.id < after if newest_first else POSTS.id > after)
    query = query.order_by(POSTS.id.desc() if newest_first else POSTS.id).limit(min(limit, _MAX_LISTED))
    return post_views(session, query, params)


@lru_cache(maxsize=256)
def _statement(sql: str, *moments: str) -> TextClause:
    return text(sql).bindparams(*(bindparam(name, type_=UtcDateTime) for name in moments))


def _conditions(session: Session, campaign_id: str, only: PostFilter) -> tuple[str, dict[str, Any]]:
    """Return SQL conditions on the post ``p``, made of constants, with their bound values."""
    conditions, params = ["p.campaign_id = :campaign"], dict[str, Any](campaign=campaign_id)
    if only.kind is not None:
        check_kind(only.kind)
        conditions.append("p.kind = :kind")
        params["kind"] = only.kind
    if only.family is not None:
        conditions.append("CAST(p.families AS TEXT) LIKE :family")
        params["family"] = f'%"{normalize_family(only.family)}"%'
    if only.author is not None:
        conditions.append("p.author IN (:author, :human)")
        params |= {"author": clean_line(only.author), "human": f"human:{clean_line(only.author)}"}
    if only.researcher_id is not None:
        conditions.append("p.researcher_id = :researcher")
        params["researcher"] = only.researcher_id
    if only.submission is not None:
        about = select(Submission.id).where(
            Submission.campaign_id == campaign_id, Submission.number == min(only.submission, 2**31 - 1)
        )
        conditions.append(f"({_CITING[session.get_bind().dialect.name]} OR p.submission_id = :about)")
        word = f"s{only.submission}"
        quoted = f'"{word}"' if session.get_bind().dialect.name == "sqlite" else f"'{word}'"
        params |= {"cited": quoted, "about": session.scalar(about) or 0}
    moments = (("p.created_at >= :since", "since", only.since), ("p.created_at < :until", "until", only.until))
    for condition, name, moment in moments:
        if moment is not None:
            conditions.append(condition)
            params[name] = moment
    if not only.retracted:
        conditions.append("p.retracted_at IS NULL")
    return " AND ".join(conditions), params


def similar_posts(
    session: Session, campaign_id: str, title: str, body: str, *, other_than: int = 0
) -> list[SimilarPost]:
    """Return at most three posts with nearly the same text, nearest first.

    Retracted ones are omitted.

    Args:
        session: for reading.
        campaign_id: the campaign of the forum.
        title: of the text.
        body: of the text; its first 4,000 characters count, without code.
        other_than: a post to omit: the text's own.
    """
    own = _words(title, body)
    terms = Counter(own)
    rows = _candidates(session, campaign_id, terms, other_than)
    # most posts are new: a cheap check without proper parsing detects that
    distinct = frozenset(terms)
    likely = [_shared(distinct, row) >= _SHARED for row in rows]
    if not any(likely):
        return []
    others = [_words(row.title, row.body) for row in rows]
    rarity = _Rarity([own, *others])
    weights = rarity.weights(terms)
    similar = [
        SimilarPost(row.id, row.title, row.author, round(_cosine(weights, rarity.weights(Counter(other))), 2))
        for row, other, is_likely in zip(rows, others, likely, strict=True)
        if is_likely
    ]
    similar.sort(key=lambda each: (-each.similarity, each.id))
    return [each for each in similar if each.similarity >= THRESHOLD][:_MAX_SIMILAR]


def similar_to_post(session: Session, campaign_id: str, post_id: int) -> list[SimilarPost]:
    """Return the posts near one on the forum. The list is empty if that post does not exist."""
    row = session.execute(_OWN, {"post": post_id}).first()
    return [] if row is None else similar_posts(session, campaign_id, row.title, row.body, other_than=post_id)


def duplicate_warning(similar: Sequence[SimilarPost]) -> str:
    """Return a one-line warning for the author, or nothing."""
    if not similar:
        return ""
    listed = ", ".join(f'#{each.id} by {each.author} ({each.similarity:.2f}) "{each.title}"' for each in similar)
    return f"Similar to existing posts: {listed}. If you mean the same, comment there."


def _words(title: str, body: str) -> list[str]:
    words = _LONG_WORD.findall(strip_accents(Document(f"{title}\n\n{body[:_COMPARED_LENGTH]}").prose).casefold())
    return [word for word in words if word not in _FUNCTION_WORDS]


def _candidates(session: Session, campaign_id: str, terms: Mapping[str, int], other_than: int) -> Sequence[Row[Any]]:
    chosen = sorted(terms, key=lambda word: (-len(word), word))[:_MAX_RARE_WORDS]
    pairs = list(zip(chosen[::2], chosen[1::2], strict=False)) or [(word, word) for word in chosen]
    if not pairs:
        return []
    sqlite = session.get_bind().dialect.name == "sqlite"
    both, either = (" AND ", " OR ") if sqlite else (" & ", " | ")
    quote = '"' if sqlite else "'"
    words = either.join(f"({quote}{one}{quote}{both}{quote}{two}{quote})" for one, two in pairs)
    params = {"words": words, "campaign": campaign_id, "own": other_than}
    params |= {"n": _MAX_CANDIDATES, "longest": _COMPARED_LENGTH}
    return session.execute(_CANDIDATES_SQLITE if sqlite else _CANDIDATES_POSTGRESQL, params).all()


def _shared(distinct: frozenset[str], row: Row[Any]) -> float:
    words = _LONG_WORD.findall(strip_accents(f"{row.title} {row.body}").casefold())
    return len(distinct.intersection(words)) / len(distinct)


class _Rarity:
    """The rarity of words among some documents."""

    def __init__(self, documents: Sequence[Sequence[str]]) -> None:
        self._holding = Counter[str]()
        for document in documents:
            self._holding.update(set(document))
        self._idf = [math.log((1 + len(documents)) / (1 + count)) + 1 for count in range(len(documents) + 1)]

    def weights(self, terms: Mapping[str, int]) -> dict[str, float]:
        """Return a document's TF-IDF vector."""
        idf, holding = self._idf, self._holding
        return {word: (1 + math.log(count) if count > 1 else 1) * idf[holding[word]] for word, count in terms.items()}


def _cosine(one: Mapping[str, float], two: Mapping[str, float]) -> float:
    dot = sum(weight * two[word] for word, weight in one.items() if word in two)
    norms = math.sqrt(sum(w * w for w in one.values()) * sum(w * w for w in two.values()))
    return min(1.0, dot / norms) if norms else 0.0


def strip_accents(text: str) -> str:
    """Remove accents and other marks from letters of the Latin alphabet."""
    return text.translate(_PLAIN)


def split_words(text: str) -> list[str]:
    """Return the words of a text, in order."""
    return [word for word in _WORD.findall(strip_accents(text)) if len(word) <= _MAX_WORD_LENGTH]


def _plain_letters() -> dict[int, str | None]:
    found: dict[int, str | None] = dict.fromkeys(range(0x300, 0x370))
    for point in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
        base = unicodedata.normalize("NFD", chr(point))[0]
        if base != chr(point) and base.isascii():
            found[point] = base
    return found


_PLAIN = _plain_letters()
