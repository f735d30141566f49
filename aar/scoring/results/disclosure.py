"""Decides whether a new score is disclosed to researchers as a number, or withheld.

Researchers see useful scores as numbers, and few others. Every number reveals something about the hidden labels, and a
method made to score badly in a chosen way reveals most: the scores of a few hundred single features, each far below any
real method, add up to a classifier that needs no teacher (``aar problem attack --only direction-probes``). So a score
that is surely below the author's best is withheld once the campaign has disclosed some of that kind. An honest team
loses little: the verdict still names the better score and says that the idea is far behind it. An author who has no
score yet is measured by the team's best. The idea is that of the ladder (Blum & Hardt 2015), which answers with a
number only for a gain, softened by an allowance.
"""

from __future__ import annotations

import math
from statistics import median_low

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.problems.protocol import Metric
from aar.scoring.results.ranking_statistics import MAX_ERROR_RATIO
from aar.scoring.submission_status import submissions_of_same_code
from aar.scoring.submissions import DISCLOSED, LOW_DISCLOSED, WITHHELD, WITHHELD_LATER
from aar.store.models import Submission

LOW_SCORE_ALLOWANCE = 24
"""Low scores that a campaign discloses as numbers, to all researchers together."""
SURE_STANDARD_ERRORS = 2.0
"""Standard errors of the difference below which a score counts as low."""
Score = tuple[float, float]
"""A mean and its standard error."""


def is_low(score: Score, best: Score | None, metric: Metric) -> bool:
    """Return True if a score is surely below its author's best.

    Below the metric's ``plain`` level every score is low too, so that a bad beginning buys no numbers.
    """
    levels = [best] if best is not None else []
    if metric.plain is not None:
        levels.append((metric.plain, 0.0))
    return any(_below(level, score, metric) for level in levels)


def decide_disclosure(session: Session, submission: Submission, metric: Metric) -> tuple[str, Submission | None]:
    """Decide if a new score is disclosed; returns the best it is surely below.

    The best is None if the score is not surely below one.

    The same code has one answer for every author: it is compared with the best of each of its authors, and for an
    author who has no other score, with the best of the team. Otherwise an author could get a withheld number under
    another name.

    No error counts for more than ``MAX_ERROR_RATIO`` times the campaign's usual one: a method that scatters its own
    score on purpose would otherwise be surely below nothing, and neither would anything be below it.
    """
    most = _largest_error(session, submission.campaign_id)
    score = _score(submission, most)
    authors = {each.researcher_id for each in (submission, *submissions_of_same_code(session, submission))}
    bests = [_best(session, submission, metric, author) or _best(session, submission, metric) for author in authors]
    above = [best for best in bests if best is not None and _below(_score(best, most), score, metric)]
    if not above and not is_low(score, None, metric):
        return DISCLOSED, None
    query = select(func.count()).where(
        Submission.campaign_id == submission.campaign_id, Submission.telling.in_((LOW_DISCLOSED, WITHHELD_LATER))
    )
    # The author's own best is the most useful to the author.
    behind = min(above, key=lambda best: (best.researcher_id != submission.researcher_id, best.number), default=None)
    return (LOW_DISCLOSED if (session.scalar(query) or 0) < LOW_SCORE_ALLOWANCE else WITHHELD), behind


def next_disclosure(before: str, how: str) -> str:
    """Return the new value of a submission's ``telling`` after this decision."""
    return WITHHELD_LATER if how == WITHHELD and before in (LOW_DISCLOSED, WITHHELD_LATER) else how


def _score(submission: Submission, most: float) -> Score:
    return submission.mean or 0.0, min(submission.standard_error or 0.0, most)


def _largest_error(session: Session, campaign_id: str) -> float:
    """Return the largest standard error that a score of the campaign is granted."""
    query = (
        select(func.max(Submission.standard_error))
        .where(Submission.campaign_id == campaign_id, Submission.state == "measured", Submission.standard_error > 0)
        .group_by(Submission.identity)
    )
    session.flush()
    errors = [error for error in session.scalars(query) if error is not None]
    return MAX_ERROR_RATIO * median_low(errors) if errors else math.inf


def _best(session: Session, submission: Submission, metric: Metric, author: str | None = None) -> Submission | None:
    """Return the best score of an author's other codes, or of the team's."""
    query = select(Submission).where(
        Submission.campaign_id == submission.campaign_id,
        Submission.identity != submission.identity,
        Submission.state == "measured",
        Submission.mean.is_not(None),
        Submission.disqualified == "",
    )
    if author is not None:
        query = query.where(Submission.researcher_id == author)
    order = Submission.mean.desc() if metric.higher_is_better else Submission.mean.asc()
    return session.scalars(query.order_by(order, Submission.number).limit(1)).first()


def _below(level: Score, score: Score, metric: Metric) -> bool:
    gap = level[0] - score[0] if metric.higher_is_better else score[0] - level[0]
    return gap > SURE_STANDARD_ERRORS * math.hypot(level[1], score[1])
