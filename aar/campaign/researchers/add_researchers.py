"""Adds researchers to a running campaign.

Rows and spec change together, before any new researcher starts.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.campaign.control.control_requests import enqueue_request
from aar.campaign.directions import Direction, assign_directions, load_directions
from aar.campaign.external_researchers import ENDED_STATES, is_external
from aar.campaign.preflight import make_price_book
from aar.campaign.spec import AUTO, CampaignSpec
from aar.campaign.spec_loader import override_stored_spec
from aar.campaign.views import ResearcherView, get_researcher, list_researchers
from aar.errors import Conflict, NotFound, SeedFileError, UsageError
from aar.events import ControlRequested
from aar.problems.registry import find_problem
from aar.store.event_log import lock_campaign
from aar.store.models import Campaign, Researcher


def add_researchers(
    session: Session, campaign_id: str, count: int, by: str, *, direction: str | None = None, model: str | None = None
) -> tuple[list[ResearcherView], bool]:
    """Add researchers; a running controller starts them at once, otherwise the next one does.

    Args:
        session: in a write transaction.
        count: how many.
        by: the author, such as ``human:ana``.
        direction: key of a direction of the campaign; None takes those with the fewest researchers.
        model: model id; None takes the team's.

    Returns:
        The new researchers, and whether a controller is there to start them.

    Raises:
        NotFound: no such campaign.
        UsageError: the count is 0 or too high, or a model has no price.
        SeedFileError: no such direction.
        Conflict: the campaign is over.
    """
    lock_campaign(session, campaign_id)
    campaign = session.get(Campaign, campaign_id)
    if campaign is None:
        raise NotFound(f"no campaign {campaign_id}", "See `aar list`")
    if campaign.state in ENDED_STATES:
        raise Conflict(f"campaign {campaign_id} is {campaign.state}", "Start a new one with: aar start")
    if not 1 <= count <= 500:
        raise UsageError(f"cannot add {count} researchers", "Add 1 to 500")
    spec = override_stored_spec(campaign.spec, {})
    team = [view for view in list_researchers(session, campaign_id) if not is_external(view.model)]
    first = len(team) + 1
    file = spec.directions.file
    available = load_directions(Path(file) if file else find_problem(spec.problem).directions())
    dealt = _assign_directions(team, available, direction, count)
    plays = model or _teams_model(spec, team)
    make_price_book(spec).price(plays)
    campaign.spec = _grown(spec, available, dealt, model, first).model_dump(mode="json")
    last = session.scalar(select(func.max(Researcher.index)).where(Researcher.campaign_id == campaign_id)) or 0
    names = [f"r{number}" for number in range(first, first + count)]
    for place, (name, given) in enumerate(zip(names, dealt, strict=True), start=1):
        session.add(
            Researcher(
                id=f"{campaign_id}-{name}",
                campaign_id=campaign_id,
                name=name,
                index=last + place,
                direction_key=given.key,
                direction=given.text,
                family=given.family,
                model=plays,
                state="created",
            )
        )
    said = f"{', '.join(names)} on {', '.join(dict.fromkeys(each.key for each in dealt))}, model {plays}"
    heard = enqueue_request(session, campaign, ControlRequested(command="add", argument=said, by=by))
    return [get_researcher(session, campaign_id, f"{campaign_id}-{name}") for name in names], heard


def _assign_directions(
    team: list[ResearcherView], available: list[Direction], key: str | None, count: int
) -> list[Direction]:
    if key is not None:
        named = next((each for each in available if each.key == key), None)
        if named is None:
            raise SeedFileError(
                f"unknown direction {key[:64]}", f"Use one of: {', '.join(each.key for each in available)}"
            )
        return [named] * count
    uses = Counter(view.direction_key for view in team)
    dealt = []
    for _ in range(count):
        rarest = min(available, key=lambda each: uses[each.key])  # the first of those that the fewest have
        uses[rarest.key] += 1
        dealt.append(rarest)
    return dealt


def _teams_model(spec: CampaignSpec, team: list[ResearcherView]) -> str:
    if spec.researchers.model != AUTO or not team:
        return spec.researchers.model
    return Counter(view.model for view in team).most_common(1)[0][0]


def _grown(
    spec: CampaignSpec, available: list[Direction], dealt: list[Direction], model: str | None, first: int
) -> CampaignSpec:
    """Return the spec of the larger team.

    It names the directions, so that a resume finds the same.
    """
    keys = [each.key for each in [*assign_directions(spec, available), *dealt]]
    values = spec.model_dump(mode="json")
    researchers = values["researchers"]
    researchers["count"] = len(keys)
    if model is not None:
        for number in range(first, first + len(dealt)):
            researchers["overrides"][str(number)] = {"model": model}
    values["directions"] |= {"deal": "named", "names": keys}
    return override_stored_spec(values, {})
