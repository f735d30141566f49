"""Resolves campaigns and researchers from URL paths, for API and pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from sqlalchemy.orm import Session

from aar.campaign.views import CampaignView, ResearcherView, campaign_exists, get_campaign, get_researcher
from aar.errors import NotFound

CampaignId = Annotated[str, Path(description="A campaign's id, its beginning, or `latest`", examples=["latest"])]
ResearcherName = Annotated[str, Path(description="A researcher's name, such as `r1`", examples=["r1"])]


def find_campaign(session: Session, name: str) -> CampaignView:
    """Returns the campaign of a path. Raises NotFound."""
    return get_campaign(session, _checked(name))


def find_campaign_id(session: Session, name: str) -> str:
    """Returns the id of a path's campaign. Raises NotFound."""
    return name if campaign_exists(session, _checked(name)) else find_campaign(session, name).id


def find_researcher(session: Session, campaign_id: str, name: str) -> ResearcherView:
    """Returns the researcher of a path. Raises NotFound."""
    return get_researcher(session, campaign_id, name)


def _checked(name: str) -> str:
    if not (name.isascii() and name.isalnum()):
        raise NotFound(f"no campaign {name[:40]!r}", "See /campaigns")
    return name
