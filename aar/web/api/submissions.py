"""Submissions and the leaderboard: read-only for everybody. Only the controller's scorer writes scores."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from aar.report.code import read_code
from aar.report.metrics import metric_of
from aar.scoring.leaderboard import leaderboard
from aar.scoring.submissions import SubmissionView, get_submission, list_submissions
from aar.web.api.paging import After, Limit, Number, Page, page_of
from aar.web.lookup import CampaignId, campaign_of, researcher_of_address
from aar.web.state import SharedDep

router = APIRouter(prefix="/campaigns/{campaign_id}", tags=["submissions"])


class SubmissionOut(BaseModel):
    """A method handed in. The score is pooled over fresh seeds and splits, and rounded."""

    number: int
    researcher_id: str
    researcher_name: str
    digest: str
    parent: str | None
    title: str
    claim: str
    families: list[str]
    state: str
    status: str
    verdict: str
    mean: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    seeds: int
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, view: SubmissionView) -> SubmissionOut:
        """From a service's view."""
        return cls(**{name: getattr(view, name) for name in cls.model_fields})


class FileOut(BaseModel):
    """A file of the frozen code."""

    path: str
    size_bytes: int
    text: str | None
    """None for a file that is not UTF-8 text, or too long to show."""


class SubmissionDetail(SubmissionOut):
    """A submission with its code."""

    files: list[FileOut]


class LeaderboardOut(BaseModel):
    """A place on the board."""

    rank: int
    submission: SubmissionOut


@router.get("/submissions")
def submissions(
    shared: SharedDep, campaign_id: CampaignId, after: After = 0, limit: Limit = 50, researcher: str | None = None
) -> Page[SubmissionOut]:
    """Submissions by number."""
    with shared.db.reading() as session:
        view = campaign_of(session, campaign_id)
        by = researcher_of_address(session, view.id, researcher).id if researcher else None
        found = list_submissions(session, view.id, researcher_id=by, after=after, limit=limit + 1)
    return page_of(found, limit, SubmissionOut.of, lambda each: each.number)


@router.get("/submissions/{number}")
def submission(shared: SharedDep, campaign_id: CampaignId, number: Number) -> SubmissionDetail:
    """A submission with the files of its frozen snapshot."""
    with shared.db.reading() as session:
        view = get_submission(session, campaign_of(session, campaign_id).id, number)
    files = [
        FileOut(path=file.path, size_bytes=file.size_bytes, text=file.text)
        for file in read_code(shared.snapshots_of(view.campaign_id), view.digest)
    ]
    return SubmissionDetail(**SubmissionOut.of(view).model_dump(), files=files)


@router.get("/leaderboard")
def board(shared: SharedDep, campaign_id: CampaignId, limit: Limit = 50) -> Page[LeaderboardOut]:
    """Measured submissions, best first."""
    with shared.db.reading() as session:
        view = campaign_of(session, campaign_id)
        metric = metric_of(view.problem)
        rows = leaderboard(session, view.id, limit=limit, higher_is_better=metric is None or metric.higher_is_better)
    items = [LeaderboardOut(rank=row.rank, submission=SubmissionOut.of(row.submission)) for row in rows]
    return Page(items=items, next_cursor=None)
