"""Read-only views of campaigns and researchers for the CLI, the pages and the API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from aar.campaign.controller_lock import ControllerState, campaign_not_found, controller_state
from aar.errors import NotFound
from aar.forum.authors import EXTERNAL_MODEL
from aar.redaction import without_database_address
from aar.store.database import get_cached, put_cached
from aar.store.models import Campaign, Researcher

LATEST = "latest"
_BY_ID = select(Campaign.__table__.c.id).where(Campaign.__table__.c.id == bindparam("campaign"))


@dataclass(frozen=True, slots=True)
class CampaignView:
    """A campaign as shown to people.

    Args:
        state: created, running, paused, finished, failed.
        cause: the cause of its state, for people.
        address: of its pages; empty when they are not served.
        sandbox: name of the backend its sandboxes run on.
        controller: whether one is ``alive``, was ``lost`` while the campaign ran or started, or ``none`` is needed.
        heartbeat_at: the last heartbeat of its newest controller.
    """

    id: str
    name: str
    problem: str
    state: str
    cause: str
    address: str
    sandbox: str
    spec: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    heartbeat_at: datetime | None
    controller: ControllerState

    @property
    def resumable(self) -> bool:
        """Return whether no controller runs it and ``aar resume`` continues it."""
        return self.controller == "lost" or (self.controller == "none" and self.state in ("created", "paused"))

    def state_text(self, clock: Callable[[datetime], str]) -> str:
        """Return the state for people, naming a dead controller.

        Such as ``running, no controller since 18:20``.

        Args:
            clock: formats a point in time.
        """
        if self.controller != "lost":
            return self.state
        return controller_lost_text(self.id, self.state, self.heartbeat_at, clock)


@dataclass(frozen=True, slots=True)
class ResearcherView:
    """A researcher as shown to people.

    Args:
        state: created, running, waiting, paused, finished, failed.
        doing: its current activity, in one line; agent text, so sanitise before showing.
        active_seconds: agent-seconds worked so far.
    """

    id: str
    campaign_id: str
    index: int
    name: str
    direction_key: str
    direction: str
    family: str
    model: str
    state: str
    cause: str
    doing: str
    active_seconds: float

    @property
    def is_external(self) -> bool:
        """Return whether it is an agent outside, which no controller runs."""
        return self.model == EXTERNAL_MODEL


def list_campaigns(session: Session, *, limit: int = 100, skip: int = 0) -> list[CampaignView]:
    """Return campaigns, newest first, after the first ``skip``."""
    newest = select(Campaign).order_by(Campaign.created_at.desc(), Campaign.id)
    found = session.scalars(newest.offset(skip).limit(limit))
    return [_campaign_view(campaign) for campaign in found]


def get_campaign(session: Session, name: str = LATEST) -> CampaignView:
    """Return the campaign by id, by an unambiguous prefix of one, or the latest.

    Raises:
        NotFound: there is none, or the prefix is ambiguous.
    """
    query = select(Campaign).order_by(Campaign.created_at.desc(), Campaign.id)
    if name == LATEST:
        found = session.scalars(query.limit(1)).all()
        if not found:
            raise NotFound("there is no campaign yet", "Start one with: aar start")
        return _campaign_view(found[0])
    if not (name.isascii() and name.isprintable()):  # ids are printable ASCII, and a database may refuse other text
        raise campaign_not_found(ascii(name))
    found = session.scalars(query.where(Campaign.id.startswith(name, autoescape=True)).limit(5)).all()
    exact = [campaign for campaign in found if campaign.id == name]
    if len(exact or found) == 1:
        put_cached(session, ("campaign", (exact or found)[0].id), True)
        return _campaign_view((exact or found)[0])
    if found:
        raise NotFound(
            f"several campaigns begin with {name}: {', '.join(campaign.id for campaign in found)}",
            "Give more characters of the id",
        )
    raise campaign_not_found(name)


def campaign_exists(session: Session, campaign_id: str) -> bool:
    """Return whether a campaign has exactly this id.

    Cheap when its spec is not needed.
    """
    known = get_cached(session, ("campaign", campaign_id)) is not None  # none is ever deleted
    if not known and session.execute(_BY_ID, {"campaign": campaign_id}).first() is not None:
        put_cached(session, ("campaign", campaign_id), True)
        return True
    return known


def list_researchers(session: Session, campaign_id: str) -> list[ResearcherView]:
    """Return the team of a campaign, by number."""
    found = session.scalars(select(Researcher).where(Researcher.campaign_id == campaign_id).order_by(Researcher.index))
    return [_researcher_view(researcher) for researcher in found]


def working_researcher_ids(session: Session, campaign_id: str) -> list[str]:
    """Return the ids of researchers whose time counts now.

    They are at work, or wait for a job or a score.
    """
    query = select(Researcher.id).where(
        Researcher.campaign_id == campaign_id, Researcher.state.in_(("running", "waiting"))
    )
    return list(session.scalars(query))


def get_researcher(session: Session, campaign_id: str, name: str) -> ResearcherView:
    """Return a researcher by id, name ("r2") or number. Raises NotFound."""
    for researcher in list_researchers(session, campaign_id):
        if name in (researcher.id, researcher.name, str(researcher.index)):
            return researcher
    raise NotFound(f"no researcher {name} in campaign {campaign_id}", "See `aar status`")


def controller_lost_text(
    campaign_id: str, state: str, last_seen: datetime | None, clock: Callable[[datetime], str]
) -> str:
    """Return the state text of a campaign with a dead controller.

    It names the command that resumes the campaign.
    """
    since = "" if last_seen is None else f" since {clock(last_seen)}"
    return f"{state}, no controller{since}; run `aar resume {campaign_id}`"


def _campaign_view(campaign: Campaign) -> CampaignView:
    derived = {"spec": without_database_address(campaign.spec), "controller": controller_state(campaign)}
    return CampaignView(**_columns(CampaignView, campaign) | derived)


def _researcher_view(researcher: Researcher) -> ResearcherView:
    return ResearcherView(**_columns(ResearcherView, researcher))


def _columns(view: type[CampaignView | ResearcherView], row: Campaign | Researcher) -> dict[str, Any]:
    return {field.name: getattr(row, field.name, None) for field in fields(view)}
