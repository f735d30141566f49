"""Format money, durations, counts, scores, times and labels for people: terminal, pages and report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from functools import partial
from typing import Any

from aar.forum.authors import EXTERNAL_MODEL
from aar.llm.price_book import OFFLINE_MODEL
from aar.problems.protocol import Stage
from aar.scoring.phases import IN_NEW_COORDINATES, PERMUTED

OFFLINE_LABEL = "offline search baseline (not an LLM)"
EXTERNAL_LABEL = "external (an agent of its own)"
PUBLIC_USD_PER_AGENT_HOUR = Decimal(22)
"""Cost of an agent-hour in the public study, tokens and GPUs together ($18,000 for 800 hours)."""
_LIMITS = {
    "usd": "${}",
    "tokens": "{} tokens",
    "hours": "{} h",
    "usd_per_agent_hour": "${}/agent-hour",
    "core_hours": "{} core-hours",
    "submissions": "{} submissions",
}
_PHASES = {
    str(Stage.MEASURE): "measured",
    str(Stage.CONFIRM): "confirmed, on sealed splits",
    str(Stage.TRANSFER): "on the transfer domains",
    PERMUTED.key: "teacher's labels permuted",
    IN_NEW_COORDINATES.key: "on the same sealed splits, in other coordinates",
}


def is_offline(model: str) -> bool:
    """Return True if a model id means the offline search baseline."""
    return model == OFFLINE_MODEL


def model_label(model: str) -> str:
    """Return a model's name for people."""
    return {OFFLINE_MODEL: OFFLINE_LABEL, EXTERNAL_MODEL: EXTERNAL_LABEL}.get(model, model)


def phase_label(key: str) -> str:
    """Return the name of a phase's key."""
    if key.startswith("noise-"):
        return f"{key.removeprefix('noise-')} % of the teacher's labels corrupted"
    return _PHASES.get(key, key)


def format_money(usd: Decimal | float | None, *, small_decimals: int = 2) -> str:
    """Format dollars to the cent, rounded up: ``$1,234.57``; ``–`` for none.

    Rounding up keeps a cost from being shown as smaller than it is. Pages show sums below a cent with
    ``small_decimals``.
    """
    if usd is None:
        return "–"
    exact = Decimal(str(usd))
    decimals = small_decimals if 0 < exact < Decimal("0.01") else 2
    return f"${exact.quantize(Decimal(1).scaleb(-decimals), ROUND_CEILING):,}"


def format_hourly_rate(usd_per_agent_hour: Decimal | None) -> str | None:
    """Format dollars per agent-hour for programs; None before any work."""
    return None if usd_per_agent_hour is None else f"{usd_per_agent_hour:.6f}"


def format_limits(limits: Mapping[str, Any]) -> str:
    """Format the limits in force as one line."""
    parts = [pattern.format(limits[key]) for key, pattern in _LIMITS.items() if limits.get(key) is not None]
    own = {key: value for key, value in (limits.get("researcher") or {}).items() if value is not None}
    if own:
        parts.append("each researcher " + ", ".join(f"{key} {value}" for key, value in own.items()))
    return ", ".join(parts) or "none"


def format_count(number: int) -> str:
    """Format a count for pages: ``12,345``; from a million on ``1.2 M``."""
    return f"{number / 1e6:.1f} M" if number >= 1_000_000 else f"{number:,}"


def format_short_count(number: int) -> str:
    """Format a count in at most four characters and a unit: ``812``, ``12.3k``, ``4.56M``."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            share = number / size
            return f"{share:.2f}{unit}" if share < 10 else f"{share:.1f}{unit}" if share < 100 else f"{share:.0f}{unit}"
    return str(number)


def format_signed(number: int) -> str:
    """Format a sum of votes: ``+3``, ``-1``, ``0``."""
    return f"{number:+d}" if number else "0"


def format_score(mean: float | None, standard_error: float | None = None) -> str:
    """Format a score with its standard error: ``0.31 ± 0.02``; ``–`` for none."""
    if mean is None:
        return "–"
    return f"{mean:.2f}" if standard_error is None else f"{mean:.2f} ± {standard_error:.2f}"


def typeset_score(mean: float | None) -> str:
    """Format a score for pages and charts, with a minus sign instead of a hyphen."""
    return format_score(mean).replace("-", "−")


def format_duration(seconds: float) -> str:
    """Format a duration in its two largest units.

    ``3 h 05 min``, ``4 min 10 s``, ``12 s``.
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_ago(at: datetime, now: datetime) -> str:
    """Format a time since: ``12 s ago``, ``3 min ago``, ``2 h 05 min ago``."""
    return f"{format_duration(max((now - at).total_seconds(), 0))} ago"


def format_time(at: datetime) -> str:
    """Format a time for pages: ``2026-04-01 09:30 UTC``."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def format_datetime(at: datetime | None) -> str:
    """Format a date and time in the local zone: ``2026-11-05 14:03:20``; ``–`` for none."""
    return "–" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def format_clock(at: datetime) -> str:
    """Format the time of day in the local zone: ``14:03:20``."""
    return f"{at.astimezone():%H:%M:%S}"


TEMPLATE_FILTERS = {
    "model_label": model_label,
    "is_offline": is_offline,
    "money": partial(format_money, small_decimals=4),
    "duration": format_duration,
    "count": format_count,
    "score": typeset_score,
    "moment": format_time,
}
"""Filters for templates."""
