"""The desired state of each researcher, read from the log.

An operator pauses, resumes or ends a researcher.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.store.models import EventRecord

PAUSE, RESUME, STOP, REMOVE = "pause", "resume", "stop", "remove"
_COMMANDS = (PAUSE, RESUME, STOP, REMOVE)


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
