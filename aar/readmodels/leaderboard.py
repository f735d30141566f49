"""The leaderboard of a campaign, its queue, and the results at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.errors import AarError
from aar.problems.protocol import Metric
from aar.problems.registry import find_problem
from aar.readmodels.submission_details import PhaseView, Score, SubmissionDetails, list_submission_details
from aar.scoring.audits.audit_findings import FindingView
from aar.scoring.audits.protocol import AuditVerdict
from aar.scoring.results.leaderboard import LeaderboardRow
from aar.scoring.results.ranking_statistics import shrink_scores
from aar.scoring.submission_queue import QueueState, read_queue
from aar.scoring.submissions import SubmissionView, invalidated_submissions
from aar.scoring.visibility import Audience, RestrictedData, leaderboard_seen_by, may_see, submission_seen_by
from aar.store.models import Campaign, ScoringRun, Submission


@lru_cache(maxsize=32)
def find_metric(problem: str) -> Metric | None:
    """Returns a problem's metric by name or path; None if not installed."""
    try:
        return find_problem(problem).metric
    except AarError:
        return None


@dataclass(frozen=True, slots=True)
class BoardRow:
    """A row of the board, with fields that only people see.

    Args:
        confirmed: its score on the sealed splits; None before a confirmation, and for researchers.
    """

    rank: int
    band: int
    labels: tuple[str, ...]
    submission: SubmissionView
    confirmed: PhaseView | None

    @property
    def provisional(self) -> bool:
        """Returns True if it leads without being confirmed."""
        return self.rank == 1 and self.submission.status != "confirmed"


@dataclass(frozen=True, slots=True)
class Board:
    """The board's rows, best first.

    Disqualified and refuted submissions are listed apart, by number.
    """

    rows: list[BoardRow]
    disqualified: list[SubmissionView]
    refuted: list[SubmissionView]

    @property
    def headline(self) -> BoardRow | None:
        """Returns the leading row if confirmed: the only score to quote the campaign by."""
        return next((row for row in self.rows if row.submission.status == "confirmed" and row.confirmed), None)


def read_board(
    session: Session,
    campaign_id: str,
    *,
    higher_is_better: bool = True,
    limit: int | None = None,
    audience: Audience = Audience.OPERATOR,
) -> Board:
    """Reads a campaign's board.

    Args:
        audience: the reader's role; only people see confirmed scores.
        higher_is_better: the problem's ``metric.higher_is_better``.
        limit: maximum number of rows; None for all.
    """
    rows = leaderboard_seen_by(session, campaign_id, audience, limit=limit, higher_is_better=higher_is_better)
    fallen = [submission_seen_by(each, audience) for each in invalidated_submissions(session, campaign_id)]
    return Board(
        _with_confirmations(session, campaign_id, rows, may_see_sealed=may_see(audience, RestrictedData.SEALED_SCORES)),
        disqualified=[each for each in fallen if each.disqualified],
        refuted=[each for each in fallen if not each.disqualified],
    )


def read_queue_state(session: Session, campaign_id: str) -> QueueState:
    """Reads the scoring queue and its expected waits, at the current pace."""
    campaign = session.get(Campaign, campaign_id)
    planned = ((campaign.spec.get("scoring") or {}) if campaign else {}).get("parallel")
    running = session.scalar(
        select(func.count(ScoringRun.id))
        .join(Submission, Submission.id == ScoringRun.submission_id)
        .where(Submission.campaign_id == campaign_id, ScoringRun.state == "running")
    )
    return read_queue(session, campaign_id, parallel=planned or running or 1)


def _with_confirmations(
    session: Session, campaign_id: str, rows: list[LeaderboardRow], *, may_see_sealed: bool
) -> list[BoardRow]:
    numbers = [row.submission.number for row in rows if may_see_sealed and row.submission.status == "confirmed"]
    close = list_submission_details(session, campaign_id, numbers) if numbers else {}
    return [
        BoardRow(
            row.rank,
            row.band,
            row.labels,
            row.submission,
            close[row.submission.number].confirmed if row.submission.number in close else None,
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Winner:
    """A submission that was scored again after its measurement.

    Args:
        measured: its measured score.
        confirmed: on the sealed splits; None if it was not run there.
        transferred: on the transfer domains; None if it was not run there.
    """

    submission: SubmissionView
    measured: Score
    confirmed: PhaseView | None
    transferred: PhaseView | None


@dataclass(frozen=True, slots=True)
class CorrectedScore:
    """The best measured score and its expected value when measured again.

    Args:
        of: number of methods that it was picked from.
    """

    number: int
    measured: Score
    mean: float
    standard_error: float
    of: int


@dataclass(frozen=True, slots=True)
class AuditCount:
    """The verdicts of one audit over each submission's newest finding."""

    audit: str
    verdicts: Mapping[str, int]


def list_winners(
    submissions: Sequence[SubmissionView], close: Mapping[int, SubmissionDetails], board: Board
) -> list[Winner]:
    """Lists submissions that were confirmed, refuted or transferred.

    Those on the board come first, in its order.
    """
    place = {row.submission.number: row.rank for row in board.rows}
    winners = []
    for each in submissions:
        seen = close[each.number]
        measured = seen.phase("measure")
        if measured is not None and (seen.confirmed or seen.transferred):
            winners.append(Winner(each, measured.score, seen.confirmed, seen.transferred))
    return sorted(
        winners, key=lambda one: (place.get(one.submission.number, len(submissions) + 1), one.submission.number)
    )


def correct_for_selection(submissions: Sequence[SubmissionView], *, higher_is_better: bool) -> CorrectedScore | None:
    """Corrects the best measured score for selection among all.

    None if fewer than two submissions have one.

    Formulas and sources are in docs/statistics.md.
    """
    first: dict[str, SubmissionView] = {}
    for each in submissions:
        if each.mean is not None and each.standard_error is not None:
            first.setdefault(each.identity or each.digest, each)
    entries = list(first.values())
    if len(entries) < 2:
        return None
    pairs = [(each.mean or 0.0, each.standard_error or 0.0) for each in entries]
    sign = 1 if higher_is_better else -1
    at = max(range(len(pairs)), key=lambda index: sign * pairs[index][0])
    mean, spread = shrink_scores(pairs)[at]
    best = entries[at]
    low, high = best.low or 0.0, best.high or 0.0
    return CorrectedScore(best.number, Score(*pairs[at], low, high), mean, spread, len(entries))


def count_audit_verdicts(close: Mapping[int, SubmissionDetails]) -> list[AuditCount]:
    """Counts verdicts by audit."""
    verdicts: dict[str, Counter[str]] = {}
    for seen in close.values():
        for finding in seen.audits:
            verdicts.setdefault(finding.audit, Counter())[finding.verdict] += 1
    order = [str(verdict) for verdict in AuditVerdict]
    return [
        AuditCount(audit, {verdict: counts[verdict] for verdict in order}) for audit, counts in sorted(verdicts.items())
    ]


def notable_findings(close: Mapping[int, SubmissionDetails]) -> list[tuple[int, FindingView]]:
    """Lists findings other than passed and skipped, by submission."""
    quiet = (AuditVerdict.PASSED, AuditVerdict.SKIPPED)
    return [(number, each) for number, seen in close.items() for each in seen.audits if each.verdict not in quiet]


def skipped_audits(close: Mapping[int, SubmissionDetails]) -> list[tuple[str, str]]:
    """Lists skipped audits with their reasons, each pair once."""
    pairs = [(each.audit, each.reason) for seen in close.values() for each in seen.audits if each.verdict == "skipped"]
    return list(dict.fromkeys(pairs))
