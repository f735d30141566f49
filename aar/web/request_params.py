"""Parameters of requests (campaigns and researchers of a path, cursors of lists), and bases of responses.

A list is read by cursor: pass ``next_cursor`` as ``after`` until it is null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict
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


M = TypeVar("M", bound=BaseModel)
V = TypeVar("V")
MAX_LIMIT = 2**63 - 1
"""The largest key that the database can hold."""

After = Annotated[int, Query(ge=0, le=MAX_LIMIT, description="Cursor: the next_cursor of the previous page")]
Limit = Annotated[int, Query(ge=1, le=200, description="Items on a page")]
Number = Annotated[int, Path(ge=0, le=MAX_LIMIT)]


class ViewOut(BaseModel):
    """A response model whose fields are those of a service's view: ``Out.model_validate(view)``."""

    model_config = ConfigDict(from_attributes=True)


class Page(BaseModel, Generic[M]):
    """A page of items and the cursor of the next page."""

    items: list[M]
    next_cursor: int | None


def make_page(views: Sequence[V], limit: int, show: Callable[[V], M], cursor: Callable[[V], int]) -> Page[M]:
    """Makes a page from views; one more than ``limit`` means that another page follows."""
    items = views[:limit]
    more = len(views) > limit
    return Page(items=[show(view) for view in items], next_cursor=cursor(items[-1]) if more else None)
