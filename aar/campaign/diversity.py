"""Idea diversity: the entropy of the team's idea families, and the Vendi score of its newest texts.

The public study measured idea collapse by Shannon entropy, in bits, over the families of the active researchers' ideas.
A researcher counts with the first family of its newest labelled submission or post, and before that with its
direction's family. An external researcher has no direction from the team, so it counts from its first labelled
submission or post on. A failed researcher does not count. A finished one counts with its last idea, so that a campaign
that ends does not look like one that collapses.

The Vendi score (Friedman and Dieng, 2023, "The Vendi Score", equation 1) is the exponential of the Shannon entropy of
the eigenvalues of K/n, where K holds the similarities of n items: 1 when all are the same, n when none resembles
another. It needs no labels, so it also sees researchers who work on one idea under different family names. Here an item
is a researcher, its text the claim of its newest submission with its newest post, and similarity the cosine of TF-IDF
vectors; words that all researchers use weigh little.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

import anyio.to_thread
from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from aar.campaign.running_time import read_running_time
from aar.events import DiversityFell, DiversityMeasured
from aar.forum.authors import EXTERNAL_MODEL
from aar.store.database import Database
from aar.store.event_log import append_event
from aar.store.models import EventRecord, Post, Researcher, Submission

BOOTSTRAP_RESAMPLES = 1000
_BAND = (5.0, 95.0)
LOW_DIVERSITY_BITS = 1.0
"""Two ideas in equal shares. Below this, and below half of the campaign's highest, diversity is low."""
LOW_DIVERSITY_MINUTES = 10.0
"""Minutes of running with low diversity before an alert."""
_INTERVAL_SECONDS = 60.0
_LONGEST = 20_000
"""Characters of one researcher's text that are used."""


def shannon_bits(families: Iterable[str]) -> float:
    """Return the entropy of the families' frequencies in bits.

    It is 0 if all are equal, and log2(n) if all n differ.
    """
    counts = Counter(families)
    total = counts.total()
    return sum(-count / total * math.log2(count / total) for count in counts.values()) + 0.0


def current_families(session: Session, campaign_id: str) -> list[str]:
    """Return the current family of each researcher of the campaign.

    A retracted post does not count: a researcher that retracts its newest labelled post counts with the one before it.
    """
    newest = (
        select(Submission.researcher_id, func.max(Submission.id).label("id"))
        .where(Submission.campaign_id == campaign_id)
        .group_by(Submission.researcher_id)
        .subquery()
    )
    team = session.execute(
        select(Researcher.id, Researcher.family, Researcher.model, Submission.families, Submission.created_at)
        .outerjoin(newest, newest.c.researcher_id == Researcher.id)
        .outerjoin(Submission, Submission.id == newest.c.id)
        .where(Researcher.campaign_id == campaign_id, Researcher.state != "failed")
        .order_by(Researcher.index)
    ).all()
    posted = _posted_families(session, campaign_id, {row.id: row.created_at for row in team})
    found = []
    for researcher_id, direction_family, model, submitted, _ in team:
        own_family = posted.get(researcher_id) or (submitted[0] if submitted else None)
        if own_family is not None or model != EXTERNAL_MODEL:
            found.append(own_family or direction_family)
    return found


def _posted_families(session: Session, campaign_id: str, since: Mapping[str, datetime | None]) -> dict[str, str]:
    """Return the leading family of each researcher's newest labelled post.

    A post counts if it is newer than its researcher's time in ``since``.

    Read from the newest post back until all researchers are found or nothing older could count, which is seldom far.
    """
    open_, found = dict(since), dict[str, str]()
    query = (
        select(Post.researcher_id, Post.created_at, Post.families)
        .where(Post.campaign_id == campaign_id, Post.researcher_id.in_(open_), Post.retracted_at.is_(None))
        .where(cast(Post.families, Text) != "[]")
        .order_by(Post.id.desc())
    )
    session.flush()
    with closing(session.execute(query.execution_options(yield_per=50))) as posts:
        for who, at, families in posts:
            open_ = {each: moment for each, moment in open_.items() if moment is None or moment < at}
            if who in open_:
                found[who] = families[0]
                del open_[who]
            if not open_:
                break
    return found


def bootstrap_band(families: Sequence[str]) -> tuple[float, float]:
    """Return the 90 % percentile band of ``shannon_bits`` over resampled teams.

    A thousand teams are drawn from this one with replacement.

    A drawn team lacks some ideas of the real one, so the band reaches further down than up, and with all ideas
    different the measured value is its upper end. Its width shows how much depends on single researchers. The draws
    are seeded, so that the same families give the same band (Efron and Tibshirani, 1993, section 13.3).
    """
    if len(set(families)) < 2:
        return 0.0, 0.0
    import numpy as np

    counts = np.array(sorted(Counter(families).values(), reverse=True), dtype=float)
    drawn = np.random.default_rng(0).multinomial(len(families), counts / counts.sum(), size=BOOTSTRAP_RESAMPLES)
    shares = drawn / len(families)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    low, high = np.percentile(-(shares * logs).sum(axis=1), _BAND)
    return round(float(low), 4) + 0.0, round(float(high), 4) + 0.0


def latest_vendi_score(session: Session, campaign_id: str) -> float | None:
    """Return the newest Vendi score; None before the first."""
    payloads = session.scalars(
        select(EventRecord.payload)
        .where(EventRecord.campaign_id == campaign_id, EventRecord.kind == "diversity_measured")
        .order_by(EventRecord.id.desc())
    )
    return next((payload["vendi"] for payload in payloads if payload.get("vendi") is not None), None)


def record_diversity(session: Session, campaign_id: str, vendi: float | None = None) -> float:
    """Measure the team's diversity, log it if it changed, and return bits.

    Args:
        vendi: the newest Vendi score, if there is one.
    """
    families = current_families(session, campaign_id)
    bits = round(shannon_bits(families), 4)
    last = session.scalar(
        select(EventRecord.payload)
        .where(EventRecord.campaign_id == campaign_id, EventRecord.kind == "diversity_measured")
        .order_by(EventRecord.id.desc())
        .limit(1)
    )
    if last is None or last["bits"] != bits or (vendi is not None and last.get("vendi") != vendi):
        low, high = bootstrap_band(families)
        measured = DiversityMeasured(bits=bits, families=len(set(families)), low=low, high=high, vendi=vendi)
        append_event(session, campaign_id, measured)
    return bits


@dataclass(frozen=True, slots=True)
class DiversityHistory:
    """The diversity in a campaign's log, up to the event with id ``seen``.

    Args:
        highest: of all measurements.
        bits: the last.
        since: the start of the current fall; None if there is none.
        alerted: whether that fall was logged.
    """

    seen: int = 0
    highest: float = 0.0
    bits: float = 0.0
    since: datetime | None = None
    alerted: bool = False


def read_diversity_history(
    session: Session, campaign_id: str, before: DiversityHistory = DiversityHistory()
) -> DiversityHistory:
    """Continue reading from an earlier state, so that only new events are read.

    It is low under one bit and under half of the campaign's highest so far, whichever is more; a campaign that
    never had one bit cannot fall. A new fall begins after diversity was above that again.
    """
    log = session.execute(
        select(EventRecord.id, EventRecord.at, EventRecord.kind, EventRecord.payload)
        .where(EventRecord.campaign_id == campaign_id, EventRecord.kind.in_(("diversity_measured", "diversity_fell")))
        .where(EventRecord.id > before.seen)
        .order_by(EventRecord.id)
    )
    now = before
    for number, at, kind, payload in log:
        if kind == "diversity_fell":
            now = replace(now, seen=number, alerted=True)
            continue
        bits = float(payload["bits"])
        highest = max(now.highest, bits)
        if highest < LOW_DIVERSITY_BITS or bits >= max(LOW_DIVERSITY_BITS, highest / 2):
            now = DiversityHistory(number, highest, bits)
        else:
            now = DiversityHistory(number, highest, bits, now.since or at, now.alerted)
    return now


def log_low_diversity(session: Session, campaign_id: str, now: DiversityHistory | None = None) -> DiversityFell | None:
    """Log that diversity has been low for a while, once per fall.

    Return the logged event.

    Args:
        now: what ``read_diversity_history`` just read; None reads the whole log.
    """
    now = now or read_diversity_history(session, campaign_id)
    since, alerted, bits, highest = now.since, now.alerted, now.bits, now.highest
    if since is None or alerted:
        return None
    clock = read_running_time(session, campaign_id)
    minutes = clock.total - clock.minutes(since)
    if minutes < LOW_DIVERSITY_MINUTES:
        return None
    fell = DiversityFell(bits=bits, highest=highest, minutes=round(minutes, 1))
    append_event(session, campaign_id, fell)
    return fell


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
