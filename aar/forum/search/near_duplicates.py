"""Near-duplicate search: finds posts that nearly repeat a new text.

Candidates come from the full-text index: the longest words of the text, which tend to be its rare ones, in pairs,
newest posts first, so that the cost does not grow with the forum. They are compared by the cosine of TF-IDF vectors
(Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval": log tf, smoothed idf) with document
frequencies among the candidates.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, select, text
from sqlalchemy.orm import Session

from aar.forum.references.reference_parser import strip_code
from aar.forum.search.search_terms import strip_accents
from aar.store.models import Post

THRESHOLD = 0.6
"""Cosine from which a post counts as near. Paraphrases of one finding are above it, two findings of one topic below."""
_SHARED = THRESHOLD**2
"""Least share of a text's words in a near one: a cosine is at most the root of the squared weight that both share over
the text's whole, and shared words are no rarer than the others."""
_LONGEST = 4000
_WORDS, _CANDIDATES, _TOLD = 12, 12, 3
_WORD = re.compile(r"[^\W_]{3,}")
_FUNCTION_WORDS = frozenset(
    """
    the and for with that this from are was were not but has have had its all can than then when while which what who
    how why our you your they their them there here into onto over under more most less only also each one two per any
    will would could should may might did does done been being because
    """.split()  # noqa: SIM905 - a list of so many words is harder to read
)

_FTS5 = text(
    "SELECT p.id, p.title, substr(p.body, 1, :longest) AS body, p.author "
    "FROM post_search CROSS JOIN post p ON p.id = post_search.rowid WHERE post_search MATCH :words "
    "AND p.campaign_id = :campaign AND p.retracted_at IS NULL AND p.id <> :own ORDER BY post_search.rowid DESC LIMIT :n"
)
_TSVECTOR = text(
    "SELECT p.id, p.title, substr(p.body, 1, :longest) AS body, p.author "
    "FROM post p WHERE p.post_search @@ to_tsquery('aar_english', :words) "
    "AND p.campaign_id = :campaign AND p.retracted_at IS NULL AND p.id <> :own ORDER BY p.id DESC LIMIT :n"
)
_OWN = select(Post.__table__.c.title, Post.__table__.c.body).where(Post.__table__.c.id == bindparam("post"))


@dataclass(frozen=True, slots=True)
class SimilarPost:
    """A post near another text, with the cosine of the two, ``THRESHOLD`` to 1."""

    id: int
    title: str
    author: str
    similarity: float


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
    near = [
        SimilarPost(row.id, row.title, row.author, round(_cosine(weights, rarity.weights(Counter(other))), 2))
        for row, other, is_likely in zip(rows, others, likely, strict=True)
        if is_likely
    ]
    near.sort(key=lambda each: (-each.similarity, each.id))
    return [each for each in near if each.similarity >= THRESHOLD][:_TOLD]


def similar_to_post(session: Session, campaign_id: str, post_id: int) -> list[SimilarPost]:
    """Return the posts near one on the forum.

    None if that post does not exist.
    """
    row = session.execute(_OWN, {"post": post_id}).first()
    return [] if row is None else similar_posts(session, campaign_id, row.title, row.body, other_than=post_id)


def duplicate_warning(near: Sequence[SimilarPost]) -> str:
    """Return a one-line warning for the author, or nothing."""
    if not near:
        return ""
    told = ", ".join(f'#{each.id} by {each.author} ({each.similarity:.2f}) "{each.title}"' for each in near)
    return f"Similar to existing posts: {told}. If you mean the same, comment there."


def _words(title: str, body: str) -> list[str]:
    words = _WORD.findall(strip_accents(strip_code(f"{title}\n\n{body[:_LONGEST]}")).casefold())
    return [word for word in words if word not in _FUNCTION_WORDS]


def _candidates(session: Session, campaign_id: str, terms: Mapping[str, int], other_than: int) -> Sequence[Row[Any]]:
    chosen = sorted(terms, key=lambda word: (-len(word), word))[:_WORDS]
    pairs = list(zip(chosen[::2], chosen[1::2], strict=False)) or [(word, word) for word in chosen]
    if not pairs:
        return []
    sqlite = session.get_bind().dialect.name == "sqlite"
    both, either = (" AND ", " OR ") if sqlite else (" & ", " | ")
    quote = '"' if sqlite else "'"
    words = either.join(f"({quote}{one}{quote}{both}{quote}{two}{quote})" for one, two in pairs)
    asked = {"words": words, "campaign": campaign_id, "own": other_than, "n": _CANDIDATES, "longest": _LONGEST}
    return session.execute(_FTS5 if sqlite else _TSVECTOR, asked).all()


def _shared(distinct: frozenset[str], row: Row[Any]) -> float:
    return len(distinct.intersection(_WORD.findall(strip_accents(f"{row.title} {row.body}").casefold()))) / len(
        distinct
    )


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
