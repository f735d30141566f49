"""The final checks of a campaign: confirms the best, runs winners on transfer domains."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.problems.protocol import Problem
from aar.scoring.confirmation.confirmation_queue import request_check
from aar.scoring.phases import CONFIRMATION, TRANSFER
from aar.scoring.results.leaderboard import LeaderboardRow, read_leaderboard
from aar.scoring.submissions.status_log import SCORER
from aar.store.database import Database
from aar.store.models import SubmissionCheck


async def run_final_confirmations(
    db: Database,
    campaign_id: str,
    problem: Problem,
    top: int,
    transfer_top: int,
    made: Callable[[], Awaitable[bool]],
) -> None:
    """Confirm the first ``top`` rows, then run the winners on the transfer domains.

    Confirmations go round by round, as refuted rows make others move up.

    Args:
        made: returns once no check is open, or False when those left do not fit a limit.
    """
    asked: set[int] = set()
    for _ in range(top + 1):
        more = await db.write(
            lambda session: request_top_confirmations(session, campaign_id, problem, top, skip=frozenset(asked))
        )
        if not more:
            break
        if not await made():
            return
        asked.update(more)  # a submission over which the problem failed is not tried again and again
    await db.write(lambda session: request_transfer_runs(session, campaign_id, problem, transfer_top))
    await made()


def request_top_confirmations(
    session: Session, campaign_id: str, problem: Problem, top: int, *, skip: Collection[int] = ()
) -> list[int]:
    """Request a confirmation for each of the first rows that has none.

    Returns the submissions that are waited for.

    Args:
        skip: submissions that were requested before; if one is not settled yet, the next row moves up.
    """
    asked = []
    board = read_problem_leaderboard(session, campaign_id, problem)
    for row in [row for row in board if row.submission.status != "measured" or row.submission.id not in skip][:top]:
        if row.submission.status == "measured":
            request_check(
                session, campaign_id, row.submission.id, CONFIRMATION, f"among the first {top} at the end", SCORER
            )
            asked.append(row.submission.id)
    return asked


def request_transfer_runs(session: Session, campaign_id: str, problem: Problem, top: int) -> int:
    """Request transfer runs for the first confirmed rows that had none; returns how many."""
    if not problem.transfer_domains:
        return 0
    asked = 0
    confirmed = [
        row for row in read_problem_leaderboard(session, campaign_id, problem) if row.submission.status == "confirmed"
    ]
    for row in confirmed[:top]:
        had = select(SubmissionCheck.id).where(
            SubmissionCheck.submission_id == row.submission.id,
            SubmissionCheck.kind == TRANSFER,
            SubmissionCheck.state.in_(("done", "failed")),
        )
        if session.scalars(had.limit(1)).first() is None:
            request_check(session, campaign_id, row.submission.id, TRANSFER, f"among the first {top} confirmed", SCORER)
            asked += 1
    return asked


def read_problem_leaderboard(session: Session, campaign_id: str, problem: Problem) -> list[LeaderboardRow]:
    """Return the leaderboard, sorted in the problem's direction."""
    return read_leaderboard(session, campaign_id, higher_is_better=problem.metric.higher_is_better)
