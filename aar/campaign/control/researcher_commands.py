"""What people wish of single researchers, folded from the log: who is to rest, and who is to go on."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.store.models import EventRecord

PAUSE, RESUME, STOP, REMOVE = "pause", "resume", "stop", "remove"
_COMMANDS = (PAUSE, RESUME, STOP, REMOVE)


@dataclass(frozen=True, slots=True)
class DesiredState:
    """The last thing that a person wished of a researcher.

    Args:
        command: pause, resume, stop or remove; empty where nobody wished anything.
        cause: for people.
        id: of the event, so that a later wish can be told from an earlier one.
    """

    command: str = ""
    cause: str = ""
    id: int = 0

    @property
    def is_paused(self) -> bool:
        """Whether it is to rest until a person lets it go on."""
        return self.command == PAUSE

    @property
    def is_ended(self) -> bool:
        """Whether it is to end for good."""
        return self.command in (STOP, REMOVE)


NO_COMMAND = DesiredState()


def read_desired_states(session: Session, campaign_id: str) -> dict[str, DesiredState]:
    """The last wish by researcher's id. It is in the log before it is acted on, so no crash forgets it."""
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
