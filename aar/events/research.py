"""Events of a researcher: states, sandbox, model calls and tools."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from aar.events.campaign import Event


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
    """An action in a sandbox was stopped or refused.

    Examples are memory, a time limit, or a transfer that tried to escape.
    """

    kind: Literal["sandbox_incident"] = "sandbox_incident"
    line = "sandbox {name}: {incident}: {detail}"
    name: str
    incident: str
    detail: str


class MessageAdded(Event):
    """A user message that is not a tool result entered the conversation.

    Examples are the opening, news, and a person's message.
    """

    kind: Literal["message_added"] = "message_added"
    line = "message: {reason}"
    reason: str
    content: list[dict[str, Any]]
    news_cursor: int | None = None
    """The last event whose forum news this message contains."""


class ContextReset(Event):
    """The conversation continues from ``content`` and the last ``kept_turns`` turns.

    The conversation before it was set aside.
    """

    kind: Literal["context_reset"] = "context_reset"
    line = "context handed over: {reason}"
    reason: str
    content: list[dict[str, Any]]
    kept_turns: int


class ModelCalled(Event):
    """A model call is about to be made; ``request_id`` names its reserved worst case."""

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
    """Input tokens of all kinds, cache reads and writes included; 0 if the service did not report them."""
    cleared_tool_uses: int = 0
    """Number of the oldest tool results that the service left out of the prompt, from now on too."""
    fallback: bool = False
    """Another model than the researcher's own wrote it, because that one's service failed."""
    service_ids: dict[str, str] = Field(default_factory=dict)
    """The service's own ids of the calls that were renamed when the turn was received, by those in ``content``."""


class BlockBegun(Event):
    """The current step of a model call in progress.

    A wait for the service counts too. Logged every few seconds at most.
    """

    kind: Literal["block_begun"] = "block_begun"
    line = "{doing}"
    request_id: str
    doing: str


class ModelCallFailed(Event):
    kind: Literal["model_call_failed"] = "model_call_failed"
    line = "model call failed: {error}"
    request_id: str
    error: str


class ModelServiceUnavailable(Event):
    """Attempts to call models fail before anything is billed.

    Logged at the first failure, then once a minute.
    """

    kind: Literal["model_service_unavailable"] = "model_service_unavailable"
    line = "{cause}; try {tries}, next in {seconds:.0f} s"
    service: str
    cause: str
    tries: int
    """Failed attempts since the last reply, of all researchers."""
    seconds: float
    """Until the next attempt, at the earliest."""
    until: str = ""
    """Until when the service asks for a pause; empty where it names no time, or one that is near."""

    def summary(self) -> str:
        """Return one line for people."""
        return f"the service asks for a pause until {self.until} ({self.cause})" if self.until else super().summary()


class ModelServiceRecovered(Event):
    kind: Literal["model_service_recovered"] = "model_service_recovered"
    line = "{service} answers again, after {tries} failed tries in {seconds:.0f} s"
    service: str
    tries: int
    seconds: float


class UsageDoubted(Event):
    """The usage that a service reports for its calls cannot be right.

    Logged once for each cause and researcher.
    """

    kind: Literal["usage_doubted"] = "usage_doubted"
    line = "the service's usage figures cannot be right ({cause}): such calls are charged at their worst case"
    request_id: str
    cause: str


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
