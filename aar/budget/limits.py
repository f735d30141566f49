"""The limits that a spec can set, and the checks of them.

An absent limit does not bind. All of them nest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.budget.ledger_entries import Charge, ChargeSums
from aar.errors import LimitBreach, LimitReached
from aar.store.models import Researcher, Submission

_MOST_WHOLE, _MOST = 2**63 - 1, 10**9
"""The largest whole number, as tables hold it, and the largest of any other kind."""
CAMPAIGN = "campaign"
_MS_PER_HOUR = Decimal(3_600_000)
_RESUME_FLAGS = frozenset({"usd", "tokens", "hours", "submissions"})


class PlainNumbers(BaseModel):
    """Fields with sensible numbers: no yes or no, nothing too large to store.

    No clock or table could hold larger ones.
    """

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_yes_or_no(cls, value: object, info: ValidationInfo) -> object:
        annotation: Any = cls.model_fields[info.field_name or ""].annotation
        kinds = (annotation, *get_args(annotation))
        if isinstance(value, bool) and bool not in kinds and not {int, float}.isdisjoint(kinds):
            raise ValueError("input should be a number, got a yes or no")
        return value

    @field_validator("*")
    @classmethod
    def _can_be_held(cls, value: object) -> object:
        most = _MOST_WHOLE if isinstance(value, int) else _MOST
        if isinstance(value, (int, float, Decimal)) and not -most <= value <= most:
            raise ValueError(f"input should be at most {most:,}")
        return value


class ResearcherLimits(PlainNumbers):
    """Limits of each single researcher."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid", frozen=True, use_attribute_docstrings=True)

    usd: Decimal | None = Field(default=None, ge=0)
    """Dollars for model calls and compute together."""
    tokens: int | None = Field(default=None, ge=0)
    """Tokens of all kinds together, cache reads included."""
    turns: int | None = Field(default=None, ge=1)
    """Model calls."""
    submissions: int | None = Field(default=None, ge=0)
    """Methods submitted for scoring."""
    scoring_runs_per_hour: float | None = Field(default=None, gt=0)
    """Scoring runs (seeds times domains) of its submissions, per hour that it worked; under one hour counts as one."""


class Limits(PlainNumbers):
    """Limits of a whole campaign, and of each researcher under it."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid", frozen=True, use_attribute_docstrings=True)

    usd: Decimal | None = Field(default=Decimal(5), ge=0)
    """Dollars for model calls and compute together; never overshot, because each call's worst case is reserved."""
    tokens: int | None = Field(default=None, ge=0)
    """Tokens of all kinds together, cache reads included."""
    hours: float | None = Field(default=None, gt=0)
    """Wall-clock hours of running; pauses do not count."""
    usd_per_agent_hour: Decimal | None = Field(default=None, gt=0)
    """Dollars spent per hour worked by a researcher, over the whole campaign so far, after its first agent-hour."""
    core_hours: float | None = Field(default=None, ge=0)
    """CPU core-hours reserved by sandboxes and scoring runs."""
    submissions: int | None = Field(default=None, ge=0)
    """Methods submitted for scoring, by all researchers together."""
    scoring_runs: int | None = Field(default=None, ge=0)
    """Scoring runs (seeds times domains) of all submissions; confirmations and audits are not counted."""
    usd_per_core_hour: Decimal = Field(default=Decimal(0), ge=0)
    """Price of compute; 0 where the machine is already paid for."""
    researcher: ResearcherLimits = ResearcherLimits()
    """Limits of each researcher."""


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """The usage of one limit.

    Args:
        scope: "campaign" or a researcher's id.
        limit: its name as in the spec.
        ceiling: its value, in the limit's own unit.
        committed: spent and reserved so far, in the same unit.
    """

    scope: str
    limit: str
    ceiling: Decimal
    committed: Decimal

    @property
    def left(self) -> Decimal:
        """Return the remaining amount, never below zero."""
        return max(self.ceiling - self.committed, Decimal(0))


def limit_usages(limits: Limits, sums: ChargeSums, researcher_id: str | None, agent_seconds: float) -> list[LimitUsage]:
    """List the usage of each limit; wall clock and submissions are counted elsewhere.

    Args:
        limits: the limits in force.
        sums: the committed sums.
        researcher_id: the researcher whose own limits to include; None for the campaign's alone.
        agent_seconds: worked by all researchers together, for the rate.
    """
    return [usage for usage, _ in _measured(limits, sums, researcher_id, agent_seconds, Charge())]


def check_limits(
    limits: Limits, sums: ChargeSums, researcher_id: str | None, agent_seconds: float, charge: Charge
) -> None:
    """Refuse a request that would pass a limit.

    Raises:
        LimitReached: names the first limit that the request would pass, the campaign's before the researcher's.
    """
    for usage, more in _measured(limits, sums, researcher_id, agent_seconds, charge):
        if usage.committed + more > usage.ceiling:
            raise LimitReached(
                LimitBreach(usage.scope, usage.limit, usage.ceiling, usage.committed, more),
                remedy_for(usage.limit, usage.scope),
            )


def remedy_for(limit: str, scope: str) -> str:
    """Return the remedy for a limit that is reached."""
    if limit == "usd_per_agent_hour":
        return "It frees itself as hours are worked; or raise limits.usd_per_agent_hour"
    if limit == "scoring_runs_per_hour":
        return "It frees itself as hours are worked; or raise limits.researcher.scoring_runs_per_hour"
    field = f"limits.{limit}" if scope == CAMPAIGN else f"limits.researcher.{limit}"
    flag = f" (`aar resume --{limit} N`)" if scope == CAMPAIGN and limit in _RESUME_FLAGS else ""
    return f"Raise {field}{flag} to go on"


def _measured(
    limits: Limits, sums: ChargeSums, researcher_id: str | None, agent_seconds: float, charge: Charge
) -> Iterator[tuple[LimitUsage, Decimal]]:
    whole = sums.campaign
    if limits.usd is not None:
        yield LimitUsage(CAMPAIGN, "usd", limits.usd, whole.usd), charge.usd
    if limits.tokens is not None:
        yield LimitUsage(CAMPAIGN, "tokens", Decimal(limits.tokens), Decimal(whole.tokens)), Decimal(charge.tokens)
    if limits.usd_per_agent_hour is not None:
        # Under one hour counts as one: a rate over the first minutes would refuse the first call.
        hours = max(Decimal(str(agent_seconds)) / 3600, Decimal(1))
        yield (
            LimitUsage(CAMPAIGN, "usd_per_agent_hour", limits.usd_per_agent_hour, whole.usd / hours),
            charge.usd / hours,
        )
    if limits.core_hours is not None:
        yield (
            LimitUsage(CAMPAIGN, "core_hours", Decimal(str(limits.core_hours)), whole.core_ms / _MS_PER_HOUR),
            charge.core_ms / _MS_PER_HOUR,
        )
    if researcher_id is None:
        return
    own, theirs = limits.researcher, sums.researchers[researcher_id]
    if own.usd is not None:
        yield LimitUsage(researcher_id, "usd", own.usd, theirs.usd), charge.usd
    if own.tokens is not None:
        yield LimitUsage(researcher_id, "tokens", Decimal(own.tokens), Decimal(theirs.tokens)), Decimal(charge.tokens)
    if own.turns is not None:
        yield LimitUsage(researcher_id, "turns", Decimal(own.turns), Decimal(theirs.calls)), Decimal(charge.calls)


def check_submission_quota(
    session: Session, campaign_id: str, researcher_id: str, limits: Limits, runs: int = 0
) -> None:
    """Refuse a submission that would pass a limit of the campaign or researcher.

    Args:
        runs: scoring runs that the submission would take.

    Raises:
        LimitReached: the first limit that it would pass.
    """
    whole, own = limits, limits.researcher
    submitted = select(func.count()).select_from(Submission).where(Submission.campaign_id == campaign_id)
    for scope, ceiling, query in (
        (CAMPAIGN, whole.submissions, submitted),
        (researcher_id, own.submissions, submitted.where(Submission.researcher_id == researcher_id)),
    ):
        if ceiling is not None:
            _check(scope, "submissions", Decimal(ceiling), Decimal(session.scalar(query) or 0), Decimal(1))
    charged = select(func.coalesce(func.sum(Submission.charged_runs), 0)).where(Submission.campaign_id == campaign_id)
    if whole.scoring_runs is not None:
        _check(
            CAMPAIGN, "scoring_runs", Decimal(whole.scoring_runs), Decimal(session.scalar(charged) or 0), Decimal(runs)
        )
    if own.scoring_runs_per_hour is not None:
        taken = Decimal(session.scalar(charged.where(Submission.researcher_id == researcher_id)) or 0)
        worked = session.scalar(select(Researcher.active_seconds).where(Researcher.id == researcher_id)) or 0.0
        # Under one hour counts as one: a rate over the first minutes would refuse the first submission.
        hours = max(Decimal(str(worked)) / 3600, Decimal(1))
        rate = Decimal(str(own.scoring_runs_per_hour))
        _check(researcher_id, "scoring_runs_per_hour", rate, round(taken / hours, 2), round(runs / hours, 2))


def _check(scope: str, limit: str, ceiling: Decimal, taken: Decimal, charge: Decimal) -> None:
    if taken + charge > ceiling:
        raise LimitReached(LimitBreach(scope, limit, ceiling, taken, charge), remedy_for(limit, scope))
