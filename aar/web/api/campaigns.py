"""API of campaigns: specs, state, and their list."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from aar.campaign.control.control_requests import ControllerState
from aar.campaign.views import CampaignView, list_campaigns, list_researchers
from aar.readmodels.formatting import is_offline, model_label
from aar.readmodels.problem_metric import find_metric
from aar.scoring.results.leaderboard import read_leader
from aar.scoring.visibility import submission_seen_by
from aar.web.api.pagination import After, Limit, Page
from aar.web.api.submissions import SubmissionOut
from aar.web.app_state import AppStateDep
from aar.web.authentication import AudienceDep
from aar.web.path_params import CampaignId, find_campaign

router = APIRouter(prefix="/campaigns", tags=["campaigns"])
_MOST_SKIPPED = 10**9
_UNSHOWN = ("seed", "database")
"""Withheld: the secret of seeded campaigns is derived from the seed, a database's address may contain a password."""


class CampaignOut(BaseModel):
    """A campaign."""

    id: str
    name: str
    problem: str
    state: str
    cause: str
    sandbox: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    controller: ControllerState
    """The controller: alive, lost while the campaign ran or started (``aar resume`` continues it), or not needed."""
    heartbeat_at: datetime | None
    """The last heartbeat of its newest controller."""


class MetricOut(BaseModel):
    """The metric of a campaign."""

    name: str
    higher_is_better: bool
    ceiling: float
    human_baseline: float | None
    human_baseline_source: str
    published: float | None
    """The best published score for such a problem, on other models."""
    published_source: str


class CampaignDetail(CampaignOut):
    """A campaign with its metric and its progress."""

    spec: dict[str, Any]
    metric: MetricOut | None
    """None if the problem is not installed here."""
    best: SubmissionOut | None
    offline: bool
    """True if any researcher is the offline search baseline, which is not an LLM."""
    models: list[str]


@router.get("")
def campaigns(shared: AppStateDep, after: After = 0, limit: Limit = 50) -> Page[CampaignOut]:
    """Lists all campaigns, newest first; the cursor counts those already listed."""
    skip = min(after, _MOST_SKIPPED)
    found = shared.read(lambda session: list_campaigns(session, limit=limit + 1, skip=skip))
    more = skip + limit if len(found) > limit else None
    return Page(items=[_brief(view) for view in found[:limit]], next_cursor=more)


@router.get("/{campaign_id}")
def campaign(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId) -> CampaignDetail:
    """Returns one campaign."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        metric = find_metric(view.problem)
        leader = read_leader(session, view.id, higher_is_better=metric is None or metric.higher_is_better)
        models = list(dict.fromkeys(each.model for each in list_researchers(session, view.id)))
    return CampaignDetail(
        **_brief(view).model_dump(),
        spec=public_spec(view),
        metric=None if metric is None else MetricOut(**asdict(metric)),
        best=None if leader is None else SubmissionOut.of(submission_seen_by(leader, audience)),
        offline=any(is_offline(model) for model in models),
        models=[model_label(model) for model in models],
    )


def public_spec(view: CampaignView) -> dict[str, Any]:
    """Returns the spec without fields that must not leave the controller."""
    spec = {key: value for key, value in view.spec.items() if key not in _UNSHOWN}
    if isinstance(spec.get("researchers"), dict):
        spec["researchers"] = {key: value for key, value in spec["researchers"].items() if key != "base_url"}
    return spec


def _brief(view: CampaignView) -> CampaignOut:
    return CampaignOut(**{name: getattr(view, name) for name in CampaignOut.model_fields})
