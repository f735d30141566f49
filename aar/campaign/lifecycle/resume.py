"""Resumes an earlier campaign, with changed limits if requested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from aar.campaign.control.controller_lock import RESUMABLE_STATES
from aar.campaign.spec import CampaignSpec
from aar.campaign.spec_loader import override_stored_spec, without_database_address
from aar.errors import Conflict
from aar.store.event_log import lock_campaign
from aar.store.models import Campaign

_CHANGEABLE = ("limits.", "serve.", "scoring.parallel", "sandbox.backend")


def read_changed_spec(session: Session, campaign_id: str, overrides: Mapping[str, Any]) -> CampaignSpec:
    """Return the spec of an earlier campaign with overrides on top; write nothing yet.

    Args:
        overrides: dotted fields to values; limits, serving, parallelism and the sandbox backend may change.

    Raises:
        Conflict: the campaign is over, or a field that may not change was given.
        SpecError: the result is invalid.
    """
    campaign = session.get_one(Campaign, campaign_id)
    if campaign.state not in RESUMABLE_STATES:
        raise Conflict(f"campaign {campaign_id} is {campaign.state}", "Start a new one with: aar start")
    for field in overrides:
        if not field.startswith(_CHANGEABLE):
            raise Conflict(f"{field} cannot change once a campaign has begun", "Start a new one with: aar start")
    return override_stored_spec(without_database_address(campaign.spec), overrides)


def save_changed_spec(session: Session, campaign_id: str, overrides: Mapping[str, Any]) -> CampaignSpec:
    """Store the changed spec, so that the next resume starts from it; return it.

    The overrides apply to the spec as it is stored now: limits that somebody else changed meanwhile stay changed.

    Raises: as ``read_changed_spec``.
    """
    lock_campaign(session, campaign_id)
    spec = read_changed_spec(session, campaign_id, overrides)
    session.get_one(Campaign, campaign_id).spec = spec.model_dump(mode="json")
    return spec
