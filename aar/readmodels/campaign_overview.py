"""The campaign overview of ``aar status`` and the live view, and the newest events of a log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.budget.totals import Totals, read_totals
from aar.campaign.diversity import current_families, latest_vendi_score, shannon_bits
from aar.campaign.views import CampaignView, ResearcherView, get_campaign, list_researchers
from aar.events import parse_event
from aar.forum.search import list_posts
from aar.forum.views import PostView
from aar.problems.protocol import Metric
from aar.readmodels.alerts import Alert, list_alerts
from aar.readmodels.formatting import is_offline
from aar.readmodels.leaderboard import BoardRow, find_metric, read_board, read_queue_state
from aar.scoring.submission_queue import QueueState
from aar.scoring.visibility import Audience, event_seen_by
from aar.store.column_types import now
from aar.store.event_log import LoggedEvent
from aar.store.models import EventRecord

_NEWEST_POSTS = 4


@dataclass(frozen=True, slots=True)
class ResearcherRow:
    """One researcher with its best measured submission and its spending."""

    researcher: ResearcherView
    best: BoardRow | None
    spent: Totals


@dataclass(frozen=True, slots=True)
class CampaignOverview:
    """The state of a campaign at one moment.

    Args:
        at: the moment.
        metric: the problem's metric; None where the problem is not installed here.
        rows: the team by number.
        best: the leading submission.
        measured: how many submissions are on the board.
        bits, most_bits: idea diversity now, and what a team of so many could reach.
        vendi: how many different texts the team writes, when last measured; None before.
        posts: the forum's newest, newest first.
        queue: submissions that are being scored, and those that wait.
        offline: whether any researcher is the offline search baseline.
        alerts: what to check first, the most serious first.
    """

    at: datetime
    campaign: CampaignView
    metric: Metric | None
    rows: list[ResearcherRow]
    spent: Totals
    best: BoardRow | None
    measured: int
    bits: float
    most_bits: float
    vendi: float | None
    posts: list[PostView]
    offline: bool
    queue: QueueState
    alerts: list[Alert]

    @property
    def limits(self) -> dict[str, Any]:
        """Return the limits of the spec that are set."""
        return {key: value for key, value in self.campaign.spec.get("limits", {}).items() if value is not None}

    @property
    def metric_name(self) -> str:
        """Return the metric's name, or ``score``."""
        return self.metric.name if self.metric else "score"


def read_overview(session: Session, campaign_id: str) -> CampaignOverview:
    """Read the overview of a campaign.

    Raises NotFound.
    """
    campaign = get_campaign(session, campaign_id)
    metric = find_metric(campaign.problem)
    board = read_board(session, campaign.id, higher_is_better=metric is None or metric.higher_is_better).rows
    best: dict[str, BoardRow] = {}
    for place in board:
        best.setdefault(place.submission.researcher_id, place)
    spent = read_totals(session, campaign.id)
    team = list_researchers(session, campaign.id)
    return CampaignOverview(
        at=now(),
        campaign=campaign,
        metric=metric,
        rows=[ResearcherRow(each, best.get(each.id), spent.researchers[each.id]) for each in team],
        spent=spent.campaign,
        best=board[0] if board else None,
        measured=len(board),
        bits=shannon_bits(current_families(session, campaign.id)),
        most_bits=shannon_bits(each.id for each in team),
        vendi=latest_vendi_score(session, campaign.id),
        posts=list_posts(session, campaign.id, limit=_NEWEST_POSTS, newest_first=True),
        offline=any(is_offline(each.model) for each in team),
        queue=read_queue_state(session, campaign.id),
        alerts=list_alerts(session, campaign.id),
    )


def list_recent_events(
    session: Session, campaign_id: str, *, limit: int = 40, audience: Audience = Audience.OPERATOR
) -> list[LoggedEvent]:
    """Lists the newest events, newest first, as an audience may see them."""
    query = select(EventRecord).where(EventRecord.campaign_id == campaign_id).order_by(EventRecord.id.desc())
    events = [
        LoggedEvent(row.id, row.campaign_id, row.researcher_id, row.at, parse_event(row.payload))
        for row in session.scalars(query.limit(limit))
    ]
    return [seen for each in events if (seen := event_seen_by(each, audience)) is not None]
