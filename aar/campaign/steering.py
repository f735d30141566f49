"""Steers a live campaign: messages, pauses, other directions and limits, more researchers.

Every request is first written to the log and the rows, with its author and time. A running controller applies it within
a second; one that starts later finds it. So does the spec of a larger team: it changes with the rows, before any new
researcher starts. An operator pauses, resumes or ends one researcher by a command in the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.campaign.controller_lock import (
    ENDED_STATES,
    CampaignCommand,
    apply_without_controller,
    is_controller_alive,
    load_campaign,
)
from aar.campaign.directions import Direction, assign_directions, find_direction, load_directions
from aar.campaign.spec import AUTO, CampaignSpec, override_stored_spec
from aar.campaign.views import ResearcherView, get_researcher, list_researchers
from aar.errors import Conflict, NotFound, UsageError
from aar.events import ControlRequested
from aar.problems.registry import find_problem
from aar.store.event_log import append_event
from aar.store.models import Campaign, Control, EventRecord, Researcher
from aar.text import clean_line, validate_text

MAX_MESSAGE_CHARACTERS = 4000
"""Most characters of a message or a new direction."""
MAX_REASON = 1000
CHANGEABLE_LIMITS = (
    "usd",
    "tokens",
    "hours",
    "submissions",
    "scoring_runs",
    "usd_per_agent_hour",
    "researcher.usd",
    "researcher.tokens",
    "researcher.turns",
    "researcher.submissions",
)
"""Limits that may change during a campaign."""
ALL_RESEARCHERS = "all"
RESEARCHER_COMMANDS = ("pause", "resume", "stop", "remove")
RESEARCHER_COMMAND = "researcher"
"""The command of a request that concerns one researcher. Its desired state is in the log."""
PAUSE, RESUME, STOP, REMOVE = "pause", "resume", "stop", "remove"
_COMMANDS = (PAUSE, RESUME, STOP, REMOVE)


@dataclass(frozen=True, slots=True)
class CommandReceipt:
    """The result of a control request.

    Args:
        delivered: whether a controller runs the campaign and applies it now.
        text: one line for the operator.
    """

    delivered: bool
    text: str


def send_command(
    session: Session, campaign_id: str, command: str, argument: str, by: str, researcher: str = ""
) -> CommandReceipt:
    """Send a command with one text to the whole campaign or to one researcher.

    Args:
        command: pause, stop, message; of one researcher also resume, remove and redirect.
        argument: the text of a message or a new direction; else the reason, which may be empty.
        researcher: its name; empty, or ``all`` with a message, for the campaign.

    Raises:
        NotFound: no such campaign or researcher.
        UsageError: no such command, or a text that is empty or too long.
        Conflict: the state of the campaign or the researcher does not allow it.
    """
    if researcher == ALL_RESEARCHERS:
        researcher = ""
    if command == "message":
        return send_message(session, campaign_id, researcher, argument, by)
    if not researcher:
        if command not in get_args(CampaignCommand):
            raise UsageError(f"unknown command {command[:32]} for a campaign", "Use one of: pause, stop, message")
        if not request_command(session, campaign_id, command, validate_reason(argument), by):
            done = "finished" if command == "stop" else "paused"
            return CommandReceipt(False, f"{campaign_id} is {done} now; no controller was running it")
        if load_campaign(session, campaign_id).state == "running":
            return CommandReceipt(True, f"asked {campaign_id} to {command}")
        return CommandReceipt(True, f"{campaign_id} is starting and will {command} once started")
    if command == "redirect":
        return change_direction(session, campaign_id, researcher, argument, by)
    if command not in RESEARCHER_COMMANDS:
        raise UsageError(
            f"unknown command {command[:32]} for a researcher",
            f"Use one of: {', '.join(RESEARCHER_COMMANDS)}, redirect",
        )
    return _command_researcher(session, campaign_id, researcher, command, argument, by)


def send_message(session: Session, campaign_id: str, researcher: str, text: str, by: str) -> CommandReceipt:
    """Send a message to one researcher or to all.

    Each reads it at its next turn.

    It is marked as the operator's text, and ends any wait.

    Raises: as ``send_command``.
    """
    campaign = _open_campaign(session, campaign_id)
    message = validate_text("message", text, MAX_MESSAGE_CHARACTERS)
    view = _own_researcher(session, campaign_id, researcher) if researcher else None
    if view is not None and view.state == "finished":
        raise Conflict(f"{view.name} has finished and reads no messages", "Write to another, or post on the forum")
    request = ControlRequested(command="message", argument=message, by=by, researcher=view.name if view else "")
    delivered = enqueue_request(session, campaign, request, view.id if view else None)
    whom = view.name if view else "every researcher"
    return CommandReceipt(delivered, f"{whom} reads it at {_receipt_text(view, delivered)}")


def change_direction(session: Session, campaign_id: str, researcher: str, text: str, by: str) -> CommandReceipt:
    """Give one researcher a new direction, as a message.

    Its system prompt stays as it was.

    Raises: as ``send_command``.
    """
    campaign = _open_campaign(session, campaign_id)
    direction = validate_text("direction", text, MAX_MESSAGE_CHARACTERS)
    view = _own_researcher(session, campaign_id, researcher)
    if view.state == "finished":
        raise Conflict(f"{view.name} has finished", "Add a researcher for the new direction: aar team add")
    row = session.get_one(Researcher, view.id)
    row.direction_key, row.direction, row.family = "redirected", clean_line(direction), "other"
    request = ControlRequested(command="redirect", argument=direction, by=by, researcher=view.name)
    delivered = enqueue_request(session, campaign, request, view.id)
    return CommandReceipt(
        delivered, f"{view.name} has a new direction and reads it at {_receipt_text(view, delivered)}"
    )


def change_limits(session: Session, campaign_id: str, changes: Mapping[str, Any], by: str) -> CommandReceipt:
    """Change limits in the stored spec and in the running controller, if any.

    Args:
        changes: by name as in the spec (``usd``, ``researcher.turns``) to value; None removes a limit.

    Raises:
        NotFound: no such campaign.
        UsageError: no change, or a limit that may not change.
        SpecError: a value is invalid.
        Conflict: the campaign is over.
    """
    campaign = _open_campaign(session, campaign_id)
    unknown = [name for name in changes if name not in CHANGEABLE_LIMITS]
    if unknown or not changes:
        problem = f"limit {unknown[0][:40]} cannot be changed" if unknown else "no limit was given"
        raise UsageError(problem, f"Use one of: {', '.join(CHANGEABLE_LIMITS)}")
    spec = override_stored_spec(campaign.spec, {f"limits.{name}": value for name, value in changes.items()})
    campaign.spec = spec.model_dump(mode="json")
    listed = ", ".join(f"{name} {'none' if value is None else value}" for name, value in changes.items())
    delivered = enqueue_request(session, campaign, ControlRequested(command="limits", argument=listed, by=by))
    since = "from now on" if delivered else "from its next start on"
    return CommandReceipt(delivered, f"limits of {campaign_id}: {listed}, {since}")


def _command_researcher(
    session: Session, campaign_id: str, researcher: str, command: str, reason: str, by: str
) -> CommandReceipt:
    campaign = _open_campaign(session, campaign_id)
    view = get_researcher(session, campaign_id, researcher)
    if view.is_external:
        if command != REMOVE:
            raise Conflict(
                f"cannot {command} {view.name}: it is an external researcher", "Remove it to revoke its token"
            )
        revoke_token(session, campaign_id, view.name)
    elif view.state == "finished":
        raise Conflict(f"{view.name} has finished already", "Add another with: aar team add")
    is_paused = read_desired_states(session, campaign_id).get(view.id, NO_COMMAND).is_paused
    if command == RESUME and not is_paused and view.state not in ("paused", "failed"):
        raise Conflict(f"{view.name} is {view.state}, not paused")
    request = ControlRequested(command=command, argument=validate_reason(reason), by=by, researcher=view.name)
    delivered = enqueue_request(session, campaign, request, view.id)
    done = {"pause": "pauses", "resume": "goes on", "stop": "stops for good", "remove": "leaves the team"}[command]
    return CommandReceipt(delivered, f"{view.name} {done}{'' if delivered else ': noted for the next start'}")


def revoke_token(session: Session, campaign_id: str, name: str) -> ResearcherView:
    """Revoke an external researcher's token; its posts and submissions stay.

    Raises:
        NotFound: no external researcher of that name.
    """
    view = get_researcher(session, campaign_id, name)
    if not view.is_external:
        raise NotFound(
            f"{view.name} is not an external researcher of campaign {campaign_id}",
            "Only external researchers have a token to revoke",
        )
    session.get_one(Researcher, view.id).token_hash = ""
    return view


def _open_campaign(session: Session, campaign_id: str) -> Campaign:
    campaign = load_campaign(session, campaign_id, lock=True)
    if campaign.state == "finished":
        raise Conflict(f"campaign {campaign_id} is finished", "Start a new one with: aar start")
    return campaign


def _own_researcher(session: Session, campaign_id: str, name: str) -> ResearcherView:
    view = get_researcher(session, campaign_id, name)
    if view.is_external:
        raise Conflict(
            f"{view.name} is an external researcher and has no conversation here", "Write on the forum, which it reads"
        )
    return view


def validate_reason(text: str) -> str:
    """Return the reason of an operator on one line; it may be empty. Raises UsageError."""
    return validate_text("reason", text, MAX_REASON, one_line=True) if text.strip() else ""


def _receipt_text(view: ResearcherView | None, delivered: bool) -> str:
    if not delivered:
        return "its first turn after the next start"
    is_resting = view is not None and view.state in ("paused", "failed")
    return "its first turn after it resumes" if is_resting else "its next turn"


def enqueue_request(
    session: Session, campaign: Campaign, request: ControlRequested, researcher_id: str | None = None
) -> bool:
    """Store a request with its author and time.

    Return whether a controller will apply it.

    Requests are applied from what the database holds (rows, spec, log), never from the request alone, so the
    next controller applies them if one was killed before it checked.
    """
    append_event(session, campaign.id, request, researcher_id)
    if not is_controller_alive(campaign):
        return False
    command, argument = request.command, request.argument
    if researcher_id:
        command, argument = RESEARCHER_COMMAND, request.researcher
    session.add(Control(campaign_id=campaign.id, command=command, argument=argument, by=request.by))
    return True


def request_command(session: Session, campaign_id: str, command: str, argument: str, by: str) -> bool:
    """Request ``pause`` or ``stop`` of a campaign; return whether a controller will apply it.

    With no controller alive, a stop takes effect at once (the campaign becomes finished) and a pause likewise.

    Raises:
        NotFound: no such campaign.
        UsageError: no such command.
        Conflict: the campaign is over already.
    """
    if command not in get_args(CampaignCommand):
        raise UsageError(f"unknown command {command}", f"Use one of: {', '.join(get_args(CampaignCommand))}")
    campaign = load_campaign(session, campaign_id, lock=True)
    if campaign.state == "finished":
        raise Conflict(f"campaign {campaign_id} is {campaign.state} already")
    if enqueue_request(session, campaign, ControlRequested(command=command, argument=argument, by=by)):
        return True
    apply_without_controller(campaign, command, argument, by)
    return False


@dataclass(frozen=True, slots=True)
class DesiredState:
    """The newest command of an operator for one researcher.

    Args:
        command: pause, resume, stop or remove; empty without a command.
        cause: for people.
        id: of the event; it distinguishes a later command from an earlier one.
    """

    command: str = ""
    cause: str = ""
    id: int = 0

    @property
    def is_paused(self) -> bool:
        """Return whether it is to pause until an operator resumes it."""
        return self.command == PAUSE

    @property
    def is_ended(self) -> bool:
        """Return whether it is to end for good."""
        return self.command in (STOP, REMOVE)


NO_COMMAND = DesiredState()


def read_desired_states(session: Session, campaign_id: str) -> dict[str, DesiredState]:
    """Return the newest command by researcher id.

    Commands are logged before they are applied, so a crash loses none.
    """
    query = select(EventRecord.id, EventRecord.researcher_id, EventRecord.payload).where(
        EventRecord.campaign_id == campaign_id,
        EventRecord.kind == "control_requested",
        EventRecord.researcher_id.is_not(None),
    )
    found: dict[str, DesiredState] = {}
    for row in session.execute(query.order_by(EventRecord.id)):
        command, reason = row.payload["command"], row.payload["argument"]
        if command in _COMMANDS:
            cause = f"{command} asked by {row.payload['by']}" + (f": {reason}" if reason else "")
            found[row.researcher_id] = DesiredState(command, cause, row.id)
    return found


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
    campaign = load_campaign(session, campaign_id, lock=True)
    if campaign.state in ENDED_STATES:
        raise Conflict(f"campaign {campaign_id} is {campaign.state}", "Start a new one with: aar start")
    if not 1 <= count <= 500:
        raise UsageError(f"cannot add {count} researchers", "Add 1 to 500")
    spec = override_stored_spec(campaign.spec, {})
    team = [view for view in list_researchers(session, campaign_id) if not view.is_external]
    first = len(team) + 1
    file = spec.directions.file
    available = load_directions(Path(file) if file else find_problem(spec.problem).directions())
    directions = _assign_directions(team, available, direction, count)
    team_model = model or _team_model(spec, team)
    spec.price_book().price(team_model)
    campaign.spec = _larger_spec(spec, available, directions, model, first).model_dump(mode="json")
    last = session.scalar(select(func.max(Researcher.index)).where(Researcher.campaign_id == campaign_id)) or 0
    names = [f"r{number}" for number in range(first, first + count)]
    for place, (name, assigned) in enumerate(zip(names, directions, strict=True), start=1):
        session.add(
            Researcher(
                id=f"{campaign_id}-{name}",
                campaign_id=campaign_id,
                name=name,
                index=last + place,
                direction_key=assigned.key,
                direction=assigned.text,
                family=assigned.family,
                model=team_model,
                state="created",
            )
        )
    listed = f"{', '.join(names)} on {', '.join(dict.fromkeys(each.key for each in directions))}, model {team_model}"
    delivered = enqueue_request(session, campaign, ControlRequested(command="add", argument=listed, by=by))
    return [get_researcher(session, campaign_id, f"{campaign_id}-{name}") for name in names], delivered


def _assign_directions(
    team: list[ResearcherView], available: list[Direction], key: str | None, count: int
) -> list[Direction]:
    if key is not None:
        return [find_direction({each.key: each for each in available}, key)] * count
    uses = Counter(view.direction_key for view in team)
    assigned = []
    for _ in range(count):
        rarest = min(available, key=lambda each: uses[each.key])  # the first of those that the fewest have
        uses[rarest.key] += 1
        assigned.append(rarest)
    return assigned


def _team_model(spec: CampaignSpec, team: list[ResearcherView]) -> str:
    if spec.researchers.model != AUTO or not team:
        return spec.researchers.model
    return Counter(view.model for view in team).most_common(1)[0][0]


def _larger_spec(
    spec: CampaignSpec, available: list[Direction], added: list[Direction], model: str | None, first: int
) -> CampaignSpec:
    """Return the spec of the larger team.

    It names the directions, so that a resume finds the same.
    """
    keys = [each.key for each in [*assign_directions(spec, available), *added]]
    values = spec.model_dump(mode="json")
    researchers = values["researchers"]
    researchers["count"] = len(keys)
    if model is not None:
        for number in range(first, first + len(added)):
            researchers["overrides"][str(number)] = {"model": model}
    values["directions"] |= {"deal": "named", "names": keys}
    return override_stored_spec(values, {})
