"""The base class of all events; events of a campaign's life and its limits."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class Event(BaseModel):
    """Base of all kinds; ``kind`` names the class in the log."""

    model_config = ConfigDict(allow_inf_nan=False, frozen=True, extra="forbid")

    kind: str
    line: ClassVar[str] = ""
    """Format of the one line that the plain view prints, over the event's own fields."""

    def summary(self) -> str:
        """Return one line for people, with control characters: render it through a sanitiser."""
        return type(self).line.format(**self.model_dump())


class CampaignCreated(Event):
    kind: Literal["campaign_created"] = "campaign_created"
    line = "campaign created on problem {problem} with {researchers} researchers"
    problem: str
    researchers: int


class CampaignStarted(Event):
    """A controller started or resumed the campaign."""

    kind: Literal["campaign_started"] = "campaign_started"
    line = "controller started (pid {pid}), sandboxes by {sandbox}"
    pid: int
    sandbox: str
    resumed: bool = False


class CampaignPaused(Event):
    kind: Literal["campaign_paused"] = "campaign_paused"
    line = "campaign paused: {cause}"
    cause: str
    seconds: float | None = Field(default=None, ge=0)
    """Of running since the campaign was started or resumed, by a monotonic clock that stops while the
    machine sleeps."""


class CampaignFinished(Event):
    kind: Literal["campaign_finished"] = "campaign_finished"
    line = "campaign {state}: {cause}"
    state: Literal["finished", "failed"]
    cause: str
    seconds: float | None = Field(default=None, ge=0)
    """As of a pause."""


class ServiceFailed(Event):
    """A part of the controller, or a process beside it, died of an error.

    The campaign goes on.
    """

    kind: Literal["service_failed"] = "service_failed"
    line = "{service} failed ({error}): {then}"
    service: str
    error: str
    then: str
    """The reaction: ``started again in 2 s``, ``given up``."""


class ControlRequested(Event):
    """A person sent a control request from the CLI, the API or a page."""

    kind: Literal["control_requested"] = "control_requested"
    command: str
    argument: str = ""
    by: str
    researcher: str = ""
    """Name of the one researcher that it concerns; empty for the campaign. Its id is the event's."""

    def summary(self) -> str:
        """Return one line for people."""
        return " ".join(filter(None, (f"{self.by} asked:", self.command, self.researcher, self.argument)))


class LimitHit(Event):
    kind: Literal["limit_hit"] = "limit_hit"
    line = "limit {limit} of {scope} reached: {committed} of {ceiling}"
    scope: str
    limit: str
    ceiling: Decimal
    committed: Decimal
    asked: Decimal


class LimitNear(Event):
    """A limit of the whole campaign is used to 50, 80 or 95 percent.

    Each is logged once.
    """

    kind: Literal["limit_near"] = "limit_near"
    line = "limit {limit} is used to {percent} %: {committed} of {ceiling}"
    limit: str
    percent: int
    ceiling: Decimal
    committed: Decimal
    hours_left: float | None = None
    """Hours of running until the first limit is reached, if the team goes on as it did recently."""


class DiversityMeasured(Event):
    kind: Literal["diversity_measured"] = "diversity_measured"
    line = "idea diversity {bits:.2f} bits over {families} families"
    bits: float
    families: int
    low: float | None = None
    high: float | None = None
    """Ends of the 90 % bootstrap band of ``bits``, over researchers."""
    vendi: float | None = None
    """Effective number of different texts among the researchers' newest, if measured by then."""


class DiversityFell(Event):
    """Idea diversity has been low for a while; logged once for each drop."""

    kind: Literal["diversity_fell"] = "diversity_fell"
    line = "idea diversity fell to {bits:.2f} bits from {highest:.2f}, {minutes:.0f} minutes ago"
    bits: float
    highest: float
    minutes: float
    """Of running, since when it has been low."""
