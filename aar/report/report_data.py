"""Collects all data of a report in one read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from aar.budget.totals import CampaignTotals, read_totals
from aar.campaign.views import CampaignView, ResearcherView, get_campaign, list_researchers
from aar.forum.search import list_posts
from aar.forum.views import PostView
from aar.problems.protocol import Metric
from aar.readmodels.alerts import CampaignIncident, list_incidents
from aar.readmodels.formatting import is_offline
from aar.readmodels.leaderboard import (
    AuditCount,
    Board,
    BoardRow,
    CorrectedScore,
    Winner,
    correct_for_selection,
    count_audit_verdicts,
    find_metric,
    list_winners,
    notable_findings,
    read_board,
    skipped_audits,
)
from aar.readmodels.progress import Progress, list_visible_submissions, read_progress
from aar.readmodels.submission_code import CodeFile, LineageEntry, lineage_tree, read_submission_code
from aar.readmodels.submission_details import SubmissionDetails, list_submission_details
from aar.scoring.audits.audit_findings import FindingView
from aar.scoring.submissions import SubmissionView
from aar.snapshots.store import SnapshotStore
from aar.store.column_types import now
from aar.store.event_log import LoggedEvent, read_events

_TOP_POSTS = 10
_BATCH = 200


@dataclass(frozen=True, slots=True)
class ReportData:
    """All data of a report.

    Args:
        offline: number of researchers that were the offline search baseline.
        close: details of each submission, by number.
        best_code: the leading submission's files.
        limits_hit: in order of time.
        disturbances: incidents, each once with its count.
        top_posts: by votes, then by number of comments.
    """

    campaign: CampaignView
    metric: Metric | None
    researchers: list[ResearcherView]
    offline: int
    submissions: list[SubmissionView]
    board: Board
    close: dict[int, SubmissionDetails]
    progress: Progress
    totals: CampaignTotals
    lineage: list[LineageEntry]
    best_code: list[CodeFile]
    top_posts: list[PostView]
    posts: int
    limits_hit: list[LoggedEvent]
    disturbances: list[CampaignIncident]
    written_at: datetime

    @property
    def best(self) -> SubmissionView | None:
        """Returns the leading submission."""
        return self.board.rows[0].submission if self.board.rows else None

    def best_of(self, researcher_id: str) -> SubmissionView | None:
        """Returns a researcher's best submission on the board."""
        return best_row_of(researcher_id, self.board.rows)

    def submission_count(self, researcher_id: str) -> int:
        """Returns the number of a researcher's submissions."""
        return sum(each.researcher_id == researcher_id for each in self.submissions)

    @property
    def limits(self) -> dict[str, Any]:
        """Returns the limits of the spec."""
        return self.campaign.spec.get("limits") or {}

    @property
    def winners(self) -> list[Winner]:
        """Lists the submissions that were scored again."""
        return list_winners(self.submissions, self.close, self.board)

    @property
    def corrected(self) -> CorrectedScore | None:
        """Returns the best measured score, corrected for selection."""
        return correct_for_selection(
            self.submissions, higher_is_better=self.metric is None or self.metric.higher_is_better
        )

    @property
    def audits(self) -> list[AuditCount]:
        """Counts verdicts by audit."""
        return count_audit_verdicts(self.close)

    @property
    def findings(self) -> list[tuple[int, FindingView]]:
        """Lists notable findings with their submission's number."""
        return notable_findings(self.close)

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Lists skipped audits with their reasons."""
        return skipped_audits(self.close)


def build_report(session: Session, snapshots: SnapshotStore | None, campaign_id: str) -> ReportData:
    """Collects a report's data from the database and the frozen code.

    The code is that of the best method.

    Args:
        snapshots: store of that code; None leaves it out.

    Raises:
        NotFound: no such campaign.
    """
    campaign = get_campaign(session, campaign_id)
    metric = find_metric(campaign.problem)
    higher_is_better = metric is None or metric.higher_is_better
    submissions = list_visible_submissions(session, campaign_id)
    board = read_board(session, campaign_id, higher_is_better=higher_is_better)
    team = list_researchers(session, campaign_id)
    posts = _all_posts(session, campaign_id)
    return ReportData(
        campaign=campaign,
        metric=metric,
        researchers=team,
        offline=sum(is_offline(each.model) for each in team),
        submissions=submissions,
        board=board,
        close=list_submission_details(session, campaign_id),
        progress=read_progress(session, campaign_id, submissions, higher_is_better=higher_is_better),
        totals=read_totals(session, campaign_id),
        lineage=lineage_tree(submissions),
        best_code=read_submission_code(snapshots, board.rows[0].submission.digest) if board.rows else [],
        top_posts=sorted(posts, key=lambda post: (-post.score, -post.comments, post.id))[:_TOP_POSTS],
        posts=len(posts),
        limits_hit=read_events(session, campaign_id, kinds=["limit_hit"]),
        disturbances=list_incidents(session, campaign_id),
        written_at=now(),
    )


def best_row_of(researcher_id: str, board: Sequence[BoardRow]) -> SubmissionView | None:
    """Returns a researcher's best submission on the board."""
    return next((row.submission for row in board if row.submission.researcher_id == researcher_id), None)


def _all_posts(session: Session, campaign_id: str) -> list[PostView]:
    posts: list[PostView] = []
    while batch := list_posts(session, campaign_id, after=posts[-1].id if posts else 0, limit=_BATCH):
        posts += batch
    return posts
