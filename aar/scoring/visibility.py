"""Decides which audience sees which data of submissions and events, in one table.

Pages, API, streams, charts and MCP all use it. Scores of the sealed splits, withheld scores and the evidence of audits
would be something to climb on; a notebook, a file or a turn belongs to one researcher. Authenticated people see them;
no other audience does, on any of these ways. The command line and the report on disk read the database itself and so
belong to its owner.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final

from sqlalchemy.orm import Session

from aar.events import AuditFinished, Event, SubmissionMeasured
from aar.problems.protocol import Stage
from aar.scoring.audits.audit_findings import FindingView
from aar.scoring.audits.protocol import AuditVerdict
from aar.scoring.results.leaderboard import LeaderboardRow, read_leaderboard
from aar.scoring.submission_history import SubmissionRecord
from aar.scoring.submissions import SubmissionView
from aar.store.event_log import LoggedEvent

_HIDDEN = "…"
_TOLD_VERDICTS = frozenset({AuditVerdict.LABELLED, AuditVerdict.FLAGGED, AuditVerdict.DISQUALIFIED})
"""Verdicts of findings that their submission's author reads."""
EVENT_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "campaign_created": {},
    "campaign_started": {},
    "campaign_paused": {},
    "campaign_finished": {},
    "control_requested": {"argument": ""},
    "limit_hit": {},
    "limit_near": {},
    "diversity_measured": {},
    "diversity_fell": {},
    "post_created": {},
    "comment_created": {},
    "vote_cast": {},
    "text_edited": {},
    "text_retracted": {},
    "post_pinned": {},
    "researchers_mentioned": {},
    "claim_made": {},
    "claim_released": {},
    "researcher_started": {},
    "researcher_state_changed": {},
    "sandbox_created": {},
    "sandbox_lost": {"cause": _HIDDEN},
    "sandbox_incident": {"detail": _HIDDEN},
    "message_added": {"content": []},
    "context_reset": {"content": []},
    "model_called": {},
    "turn_received": {"content": []},
    "block_begun": {"doing": _HIDDEN},
    "model_call_failed": {"error": _HIDDEN},
    "model_service_unavailable": {"service": _HIDDEN, "cause": _HIDDEN},
    "model_service_recovered": {"service": _HIDDEN},
    "usage_doubted": {},
    "service_failed": {"error": _HIDDEN},
    "tool_started": {"about": _HIDDEN},
    "tool_finished": {"content": []},
    "snapshot_taken": {},
    "submission_received": {},
    "scoring_started": {},
    "scoring_run_finished": {},
    "submission_measured": {},
    "submission_rejected": {},
    "problem_failed": {"error": _HIDDEN},
    "check_started": {},
    "check_finished": {"score": None, "standard_error": None},
    "audit_finished": {},
    "status_changed": {},
}
"""By kind of event: the values that replace its fields for readers who are not people. A kind that is not here is shown
to people only."""


class Audience(StrEnum):
    """The reader of some data."""

    NOBODY = "nobody"
    """A reader without a token or a login, on the machine itself."""
    GUEST = "guest"
    """An external researcher, by its token."""
    RESEARCHER = "researcher"
    VIEWER = "viewer"
    """A person who may read."""
    OPERATOR = "operator"
    """A person who may read and act."""

    @property
    def is_person(self) -> bool:
        """Return True if it is an authenticated person."""
        return self in (Audience.VIEWER, Audience.OPERATOR)


class RestrictedData(StrEnum):
    """A kind of data that not everybody may see."""

    WITHHELD_SCORES = "withheld scores"
    """Measured scores that are withheld from researchers."""
    SEALED_SCORES = "sealed scores"
    """Scores of every phase but the measurement, and of each domain and split alone."""
    EVIDENCE = "evidence"
    """The details of an audit's findings, and audits without a finding."""
    SEEDS = "seeds"
    """Seeds, split seeds and the digests of outputs."""
    WORKSPACES = "workspaces"
    """Notebooks, files and jobs."""
    TRANSCRIPTS = "transcripts"
    """Turns, tool calls and their results, messages of people to one researcher, errors of its model and sandbox."""


_PEOPLE: Final = frozenset(RestrictedData) - {RestrictedData.SEEDS}
VISIBLE_DATA: Final[Mapping[Audience, frozenset[RestrictedData]]] = {
    Audience.NOBODY: frozenset(),
    Audience.GUEST: frozenset(),
    Audience.RESEARCHER: frozenset(),
    Audience.VIEWER: _PEOPLE,
    Audience.OPERATOR: frozenset(RestrictedData),
}
"""The data that each audience may see."""


def may_see(audience: Audience, secret: RestrictedData) -> bool:
    """Return True if an audience may see a kind of restricted data."""
    return secret in VISIBLE_DATA[audience]


def submission_seen_by(view: SubmissionView, audience: Audience) -> SubmissionView:
    """Return a submission without a score that is withheld from this audience."""
    if view.told or may_see(audience, RestrictedData.WITHHELD_SCORES):
        return view
    return replace(view, mean=None, standard_error=None, low=None, high=None)


def leaderboard_seen_by(
    session: Session, campaign_id: str, audience: Audience, *, limit: int | None = None, higher_is_better: bool = True
) -> list[LeaderboardRow]:
    """Read the leaderboard without withheld rows and without sealed scores.

    Ranks and bands are those of the rows that the audience sees: a place among withheld scores would reveal them.

    Args:
        limit: number of rows; None for all.
        higher_is_better: the problem's ``metric.higher_is_better``.
    """
    rows = read_leaderboard(
        session,
        campaign_id,
        limit=limit,
        higher_is_better=higher_is_better,
        disclosed_only=not may_see(audience, RestrictedData.WITHHELD_SCORES),
    )
    if may_see(audience, RestrictedData.SEALED_SCORES):
        return rows
    return [replace(row, score=row.submission.mean) for row in rows]


def findings_seen_by(findings: Collection[FindingView], audience: Audience) -> list[FindingView]:
    """Return audit findings as this audience may see them.

    Without their evidence, only the findings for the submission's author are returned.
    """
    if may_see(audience, RestrictedData.EVIDENCE):
        return list(findings)
    return [replace(each, evidence={}) for each in findings if each.verdict in _TOLD_VERDICTS]


def record_seen_by(record: SubmissionRecord, audience: Audience) -> SubmissionRecord:
    """Return a submission's history for a person, without seeds and digests of outputs if hidden from this one."""
    if may_see(audience, RestrictedData.SEEDS):
        return record
    hidden = [replace(run, seed=None, split_seed=None, output_digest=None) for run in record.runs]
    return replace(record, runs=hidden)


def may_see_phase(audience: Audience, phase: str, disclosed: bool) -> bool:
    """Return True if an audience may see a phase's score of a submission.

    ``phase`` is the phase's key; the score may be disclosed or withheld.
    """
    if phase == Stage.MEASURE:
        return disclosed or may_see(audience, RestrictedData.WITHHELD_SCORES)
    return may_see(audience, RestrictedData.SEALED_SCORES)


def event_seen_by(logged: LoggedEvent, audience: Audience) -> LoggedEvent | None:
    """Return an event without the restricted fields; None if it is hidden altogether."""
    if audience.is_person:
        return logged
    hidden = EVENT_FIELDS.get(logged.event.kind)
    if hidden is None:
        return None
    changes = dict(hidden) | _changes(logged.event)
    return replace(logged, event=logged.event.model_copy(update=changes)) if changes else logged


def activity_seen_by(doing: str, audience: Audience) -> str:
    """Return a researcher's activity; its first word alone if it may quote work."""
    if not doing or may_see(audience, RestrictedData.TRANSCRIPTS):
        return doing
    return doing.split(maxsplit=1)[0].rstrip(":")


def _changes(event: Event) -> dict[str, Any]:
    match event:
        case SubmissionMeasured(told=False):
            return {"score": None, "standard_error": None}
        case AuditFinished(verdict=verdict) if verdict not in _TOLD_VERDICTS:
            return {"rule": "", "reason": _HIDDEN}
        case _:
            return {}
