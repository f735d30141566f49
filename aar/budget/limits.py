"""The limits that a spec can set; an absent one does not bind.

All of them nest.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

_MOST_WHOLE, _MOST = 2**63 - 1, 10**9
"""The largest whole number, as tables hold it, and the largest of any other kind."""


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
