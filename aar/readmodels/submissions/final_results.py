"""Final results: measured, confirmed and transferred scores, and the correction for selection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aar.readmodels.submissions.board import Board
from aar.readmodels.submissions.submission_details import PhaseView, Score, SubmissionDetails
from aar.scoring.audits.audit_findings import FindingView
from aar.scoring.audits.protocol import AuditVerdict
from aar.scoring.results.ranking_statistics import shrink_scores
from aar.scoring.submissions import SubmissionView


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
    found = []
    for each in submissions:
        seen = close[each.number]
        measured = seen.phase("measure")
        if measured is not None and (seen.confirmed or seen.transferred):
            found.append(Winner(each, measured.score, seen.confirmed, seen.transferred))
    return sorted(
        found, key=lambda one: (place.get(one.submission.number, len(submissions) + 1), one.submission.number)
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
    found: dict[str, Counter[str]] = {}
    for seen in close.values():
        for finding in seen.audits:
            found.setdefault(finding.audit, Counter())[finding.verdict] += 1
    order = [str(verdict) for verdict in AuditVerdict]
    return [
        AuditCount(audit, {verdict: counts[verdict] for verdict in order}) for audit, counts in sorted(found.items())
    ]


def notable_findings(close: Mapping[int, SubmissionDetails]) -> list[tuple[int, FindingView]]:
    """Lists findings other than passed and skipped, by submission."""
    quiet = (AuditVerdict.PASSED, AuditVerdict.SKIPPED)
    return [(number, each) for number, seen in close.items() for each in seen.audits if each.verdict not in quiet]


def skipped_audits(close: Mapping[int, SubmissionDetails]) -> list[tuple[str, str]]:
    """Lists skipped audits with their reasons, each pair once."""
    found = [(each.audit, each.reason) for seen in close.values() for each in seen.audits if each.verdict == "skipped"]
    return list(dict.fromkeys(found))
