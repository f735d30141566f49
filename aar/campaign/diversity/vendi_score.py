"""Idea diversity of texts: the Vendi score of each researcher's newest texts.

The score (Friedman and Dieng, 2023, "The Vendi Score", equation 1) is the exponential of the Shannon entropy of the
eigenvalues of K/n, where K holds the similarities of n items: 1 when all are the same, n when none resembles another.
It needs no labels, so it also sees researchers who work on one idea under different family names. Here an item is a
researcher, its text the claim of its newest submission with its newest post, and similarity the cosine of TF-IDF
vectors; words that all researchers use weigh little.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import anyio.to_thread
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.store.database import Database
from aar.store.models import Post, Researcher, Submission

_INTERVAL_SECONDS = 60.0
_LONGEST = 20_000
"""Characters of one researcher's text that are used."""


def vendi_score(texts: Sequence[str]) -> float:
    """Return the effective number of different texts, from 1 to ``len(texts)``; 0 for none.

    CPU-bound: call it off the loop. A text without any word resembles no other.
    """
    if not texts:
        return 0.0
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        vectors = TfidfVectorizer(sublinear_tf=True).fit_transform(texts)
    except ValueError:  # no words at all
        return float(len(texts))
    kernel = (vectors @ vectors.T).toarray()
    np.fill_diagonal(kernel, 1.0)
    values = np.linalg.eigvalsh(kernel / len(texts))
    values = values[values > 1e-12]
    return float(math.exp(-np.sum(values * np.log(values))))


def latest_texts(session: Session, campaign_id: str) -> list[str]:
    """Return each researcher's newest claim and post, joined, if it wrote any."""
    found: dict[str, list[str]] = {}
    for table, columns in ((Submission, (Submission.title, Submission.claim)), (Post, (Post.title, Post.body))):
        newest = (
            select(func.max(table.id))
            .join(Researcher, Researcher.id == table.researcher_id)
            .where(Researcher.campaign_id == campaign_id, Researcher.state != "failed")
            .group_by(table.researcher_id)
        )
        query = select(table.researcher_id, *columns).where(table.id.in_(newest)).order_by(table.researcher_id)
        for researcher_id, *parts in session.execute(query):
            found.setdefault(str(researcher_id), []).extend(parts)
    return ["\n".join(parts)[:_LONGEST] for _, parts in sorted(found.items())]


class VendiMonitor:
    """Measures a campaign's Vendi score at intervals, in a thread.

    It measures only if a text changed.

    Args:
        interval: least seconds between two measurements, and before the first.
    """

    def __init__(
        self,
        database: Database,
        campaign_id: str,
        *,
        interval: float = _INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._campaign_id = campaign_id
        self._interval = interval
        self._clock = clock
        self._last = clock()
        self._texts: list[str] = []
        self.score: float | None = None

    async def measure(self) -> float | None:
        """Return the score, measured again if it is time.

        It is None while fewer than two researchers have texts.
        """
        if self._clock() - self._last < self._interval:
            return self.score
        self._last = self._clock()
        texts = await self._database.read(lambda session: latest_texts(session, self._campaign_id))
        if len(texts) > 1 and texts != self._texts:
            self._texts = texts
            self.score = round(await anyio.to_thread.run_sync(vendi_score, texts), 2)
        return self.score
