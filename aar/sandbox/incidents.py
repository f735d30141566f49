"""Incidents in sandboxes: things stopped, refused or lost, for a campaign's record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from aar.fsutil import MAX_LEVELS

log = structlog.get_logger(__name__)


class IncidentKind(StrEnum):
    """The kind of an incident."""

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
    """Too deeply nested parts of its workspace were not retained."""
    LEFT_BEHIND = "left_behind"
    """Part of it could not be removed; the next sweep tries again."""


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident in a sandbox.

    Args:
        sandbox, campaign_id: the place.
        kind: the event.
        detail: one line; may quote a command's output, so it is untrusted.
    """

    sandbox: str
    campaign_id: str
    kind: IncidentKind
    detail: str


IncidentSink = Callable[[Incident], None]
"""Callback for each incident, in the event loop: it must return at once."""

_MOST_DETAIL = 300


def report_left_behind(sink: IncidentSink | None, sandbox: str, campaign_id: str, error: Exception) -> None:
    """Log and report remains of a sandbox that could not be removed.

    This never ends the operation in progress.
    """
    cause = str(error) or type(error).__name__
    log.warning("something of a sandbox is left behind; the next sweep tries again", name=sandbox, error=cause)
    if sink is not None:
        sink(Incident(sandbox, campaign_id, IncidentKind.LEFT_BEHIND, cause[:_MOST_DETAIL]))


def report_pruned_tree(sink: IncidentSink | None, sandbox: str, campaign_id: str, cut: int) -> None:
    """Report the entries that a retained workspace lost because they nest too deep."""
    if cut and sink is not None:
        detail = f"{cut} files or folders nest deeper than {MAX_LEVELS} levels and were not retained"
        sink(Incident(sandbox, campaign_id, IncidentKind.CUT, detail))
