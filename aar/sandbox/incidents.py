"""What was stopped, refused or lost in a sandbox, for whoever keeps the record of a campaign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class IncidentKind(StrEnum):
    """What happened."""

    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    STOPPED = "stopped"
    """A command was killed because the workspace grew past its limit, or its controller left."""
    REFUSED = "refused"
    """A transfer was refused: a link, a special file, a name that leaves its directory, too much."""
    IMPOSTOR = "impostor"
    """Something other than the sandbox's first process connected to its channel."""
    GONE = "gone"
    """The sandbox ended, or was ended because it did not answer or answered nonsense."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One of them.

    Args:
        sandbox, campaign_id: where.
        kind: what.
        detail: one line; may quote what a command said, so it is not to be trusted.
    """

    sandbox: str
    campaign_id: str
    kind: IncidentKind
    detail: str


IncidentSink = Callable[[Incident], None]
"""Told of each incident, in the event loop: it must return at once."""
