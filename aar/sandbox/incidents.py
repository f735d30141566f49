"""What was stopped, refused or lost in a sandbox, for whoever keeps the record of a campaign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from aar.fsutil import MAX_LEVELS

log = structlog.get_logger(__name__)


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
    CUT = "cut"
    """What nested too deep in its workspace was not kept."""
    LEFT_BEHIND = "left_behind"
    """Something of it could not be removed; the next sweep tries again."""


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

_MOST_DETAIL = 300


def report_left_behind(sink: IncidentSink | None, sandbox: str, campaign_id: str, error: Exception) -> None:
    """Log and tell that something of a sandbox could not be removed: never a reason to end what goes on meanwhile."""
    cause = str(error) or type(error).__name__
    log.warning("something of a sandbox is left behind; the next sweep tries again", name=sandbox, error=cause)
    if sink is not None:
        sink(Incident(sandbox, campaign_id, IncidentKind.LEFT_BEHIND, cause[:_MOST_DETAIL]))


def report_pruned_tree(sink: IncidentSink | None, sandbox: str, campaign_id: str, cut: int) -> None:
    """Tell that a kept workspace lost what nested too deep, if any did."""
    if cut and sink is not None:
        detail = f"{cut} files or folders nest deeper than {MAX_LEVELS} levels and were not kept"
        sink(Incident(sandbox, campaign_id, IncidentKind.CUT, detail))
