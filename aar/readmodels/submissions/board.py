"""The leaderboard: measured and confirmed scores, and submissions taken off the board."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.readmodels.submissions.submission_details import PhaseView, list_submission_details
from aar.scoring.results.leaderboard import LeaderboardRow, read_leaderboard
from aar.scoring.submission_queue import QueueState, read_queue
from aar.scoring.submissions import SubmissionView, invalidated_submissions
from aar.scoring.visibility import Audience, RestrictedData, may_see, rows_seen_by, submission_seen_by
from aar.store.models import Campaign, ScoringRun, Submission


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
    told_only = not may_see(audience, RestrictedData.WITHHELD_SCORES)
    found = read_leaderboard(
        session, campaign_id, limit=limit, higher_is_better=higher_is_better, disclosed_only=told_only
    )
    rows = rows_seen_by(found, audience)
    fallen = [submission_seen_by(each, audience) for each in invalidated_submissions(session, campaign_id)]
    return Board(
        _with_confirmations(session, campaign_id, rows, shown=may_see(audience, RestrictedData.SEALED_SCORES)),
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
    session: Session, campaign_id: str, rows: list[LeaderboardRow], *, shown: bool
) -> list[BoardRow]:
    numbers = [row.submission.number for row in rows if shown and row.submission.status == "confirmed"]
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
