"""What happened, as typed records: the kinds of event that the append-only log holds.

An event is written *before* its effect is acted on (a turn before its tools run) or in the same transaction as the
rows it changes (a post, a score). The live view, SSE, transcripts, resume and reports read nothing else.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Event(BaseModel):
    """Base of all kinds; ``kind`` names the class in the log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    line: ClassVar[str] = ""
    """Format of the one line that the plain view prints, over the event's own fields."""

    def summary(self) -> str:
        """One line for people, without control characters removed: render it through a sanitiser."""
        return type(self).line.format(**self.model_dump())


class CampaignCreated(Event):
    kind: Literal["campaign_created"] = "campaign_created"
    line = "campaign created on problem {problem} with {researchers} researchers"
    problem: str
    researchers: int


class CampaignStarted(Event):
    """A controller took the campaign up, for the first time or again."""

    kind: Literal["campaign_started"] = "campaign_started"
    line = "controller started (pid {pid}), sandboxes by {sandbox}"
    pid: int
    sandbox: str
    resumed: bool = False


class CampaignPaused(Event):
    kind: Literal["campaign_paused"] = "campaign_paused"
    line = "campaign paused: {cause}"
    cause: str


class CampaignFinished(Event):
    kind: Literal["campaign_finished"] = "campaign_finished"
    line = "campaign {state}: {cause}"
    state: Literal["finished", "failed"]
    cause: str


class ControlRequested(Event):
    """A person asked for something, from the CLI, the API or a page."""

    kind: Literal["control_requested"] = "control_requested"
    line = "{by} asked: {command} {argument}"
    command: str
    argument: str = ""
    by: str


class ResearcherStarted(Event):
    kind: Literal["researcher_started"] = "researcher_started"
    line = "started on direction {direction} with {model}"
    direction: str
    model: str


class ResearcherStateChanged(Event):
    kind: Literal["researcher_state_changed"] = "researcher_state_changed"
    line = "is {state}: {cause}"
    state: str
    cause: str


class SandboxCreated(Event):
    kind: Literal["sandbox_created"] = "sandbox_created"
    line = "sandbox {name} ready ({backend}, {milliseconds} ms)"
    name: str
    backend: str
    milliseconds: int


class SandboxLost(Event):
    kind: Literal["sandbox_lost"] = "sandbox_lost"
    line = "sandbox {name} lost: {cause}"
    name: str
    cause: str


class SandboxIncident(Event):
    """Something was stopped or refused in a sandbox: out of memory, a time limit, a transfer that tried to escape."""

    kind: Literal["sandbox_incident"] = "sandbox_incident"
    line = "sandbox {name}: {incident}: {detail}"
    name: str
    incident: str
    detail: str


class MessageAdded(Event):
    """A user message entered the conversation that is not a tool result: the opening, news, a person's words."""

    kind: Literal["message_added"] = "message_added"
    line = "told: {reason}"
    reason: str
    content: list[dict[str, Any]]
    news_cursor: int | None = None
    """Up to which event the forum's news are told with this message."""


class ContextReset(Event):
    """The conversation so far was set aside: it goes on with ``content`` and the last ``kept_turns`` turns."""

    kind: Literal["context_reset"] = "context_reset"
    line = "context handed over: {reason}"
    reason: str
    content: list[dict[str, Any]]
    kept_turns: int


class ModelCalled(Event):
    """A model call is about to be made; its worst case is reserved under ``request_id``."""

    kind: Literal["model_called"] = "model_called"
    line = "asks {model}"
    request_id: str
    model: str


class TurnReceived(Event):
    """A whole assistant turn, before any of its tools runs."""

    kind: Literal["turn_received"] = "turn_received"
    line = "turn: {stop_reason}, {output_tokens} tokens out, ${usd}"
    request_id: str
    model: str
    content: list[dict[str, Any]]
    stop_reason: str
    output_tokens: int
    usd: Decimal
    prompt_tokens: int = 0
    """Input tokens of all kinds, cache reads and writes included; 0 where the service did not say."""


class ModelCallFailed(Event):
    kind: Literal["model_call_failed"] = "model_call_failed"
    line = "model call failed: {error}"
    request_id: str
    error: str


class ToolStarted(Event):
    kind: Literal["tool_started"] = "tool_started"
    line = "{tool}: {about}"
    tool_use_id: str
    tool: str
    about: str


class ToolFinished(Event):
    """A tool's whole result as the model will read it."""

    kind: Literal["tool_finished"] = "tool_finished"
    line = "{tool} done in {seconds:.1f} s"
    tool_use_id: str
    tool: str
    content: list[dict[str, Any]]
    is_error: bool
    seconds: float


class PostCreated(Event):
    kind: Literal["post_created"] = "post_created"
    line = "post #{post_id} by {author} [{post_kind}]: {title}"
    post_id: int
    author: str
    post_kind: str
    title: str


class CommentCreated(Event):
    kind: Literal["comment_created"] = "comment_created"
    line = "comment on #{post_id} by {author}"
    post_id: int
    comment_id: int
    author: str


class VoteCast(Event):
    kind: Literal["vote_cast"] = "vote_cast"
    line = "vote {value:+d} on #{post_id}"
    post_id: int
    value: int


class SnapshotTaken(Event):
    kind: Literal["snapshot_taken"] = "snapshot_taken"
    line = "snapshot {digest:.12}"
    digest: str
    parent: str | None


class SubmissionReceived(Event):
    """Code and claim are frozen; no score exists yet."""

    kind: Literal["submission_received"] = "submission_received"
    line = "submission s{number} received: {title}"
    submission_id: int
    number: int
    title: str
    digest: str


class ScoringStarted(Event):
    kind: Literal["scoring_started"] = "scoring_started"
    line = "scoring s{number} on {runs} fresh runs"
    submission_id: int
    number: int
    runs: int


class ScoringRunFinished(Event):
    kind: Literal["scoring_run_finished"] = "scoring_run_finished"
    line = "run {index} of s{number} ({domain}): {verdict}"
    submission_id: int
    number: int
    index: int
    domain: str
    verdict: str
    seconds: float


class SubmissionMeasured(Event):
    kind: Literal["submission_measured"] = "submission_measured"
    line = "s{number} measured: {metric} {score:.3f} ± {standard_error:.3f}"
    submission_id: int
    number: int
    metric: str
    score: float
    standard_error: float
    best: bool
    """Whether it leads the board now."""


class SubmissionRejected(Event):
    kind: Literal["submission_rejected"] = "submission_rejected"
    line = "s{number} has no score: {verdict}"
    submission_id: int
    number: int
    verdict: str


class LimitHit(Event):
    kind: Literal["limit_hit"] = "limit_hit"
    line = "limit {limit} of {scope} reached: {committed} of {ceiling}"
    scope: str
    limit: str
    ceiling: Decimal
    committed: Decimal
    asked: Decimal


class DiversityMeasured(Event):
    kind: Literal["diversity_measured"] = "diversity_measured"
    line = "idea diversity {bits:.2f} bits over {families} families"
    bits: float
    families: int


AnyEvent = Annotated[
    CampaignCreated
    | CampaignStarted
    | CampaignPaused
    | CampaignFinished
    | ControlRequested
    | ResearcherStarted
    | ResearcherStateChanged
    | SandboxCreated
    | SandboxLost
    | SandboxIncident
    | MessageAdded
    | ContextReset
    | ModelCalled
    | TurnReceived
    | ModelCallFailed
    | ToolStarted
    | ToolFinished
    | PostCreated
    | CommentCreated
    | VoteCast
    | SnapshotTaken
    | SubmissionReceived
    | ScoringStarted
    | ScoringRunFinished
    | SubmissionMeasured
    | SubmissionRejected
    | LimitHit
    | DiversityMeasured,
    Field(discriminator="kind"),
]

_adapter: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse_event(payload: dict[str, Any]) -> AnyEvent:
    """The typed event of a stored payload. Raises pydantic.ValidationError for an unknown kind or a missing field."""
    return _adapter.validate_python(payload)
