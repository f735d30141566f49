"""Formatting of numbers, times and text for the terminal.

Text that an agent wrote is cleaned here: nothing in it may move a cursor or colour a line.

``clean_line`` and ``clean_text`` replace control characters, terminal escapes and direction marks by visible notation.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

from aar.readmodels.formatting import format_duration
from aar.text import clean_line, clean_text, shorten

__all__ = [
    "clean_line",
    "clean_text",
    "format_ago",
    "format_clock",
    "format_count",
    "format_datetime",
    "format_duration",
    "format_hourly_rate",
    "format_limits",
    "format_money",
    "format_score",
    "format_signed",
    "shorten",
]

_LIMITS = {
    "usd": "${}",
    "tokens": "{} tokens",
    "hours": "{} h",
    "usd_per_agent_hour": "${}/agent-hour",
    "core_hours": "{} core-hours",
    "submissions": "{} submissions",
}


def format_money(usd: Decimal | float | None) -> str:
    """Format dollars to the cent, rounded up: ``$1,234.57``; ``–`` for none.

    Rounding up keeps a cost from being shown as smaller than it is.
    """
    if usd is None:
        return "–"
    exact = Decimal(str(usd))
    return f"${exact.quantize(Decimal('0.01'), ROUND_CEILING):,}"


def format_datetime(at: datetime | None) -> str:
    """Format a date and time in the local zone: ``2026-11-05 14:03:20``; ``–`` for none."""
    return "–" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def format_clock(at: datetime) -> str:
    """Format the time of day in the local zone: ``14:03:20``."""
    return f"{at.astimezone():%H:%M:%S}"


def format_ago(at: datetime, now: datetime) -> str:
    """Format a time since: ``12 s ago``, ``3 min ago``, ``2 h 05 min ago``."""
    return f"{format_duration(max((now - at).total_seconds(), 0))} ago"


def format_count(number: int) -> str:
    """Format a count in at most four characters and a unit: ``812``, ``12.3k``, ``4.56M``."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            share = number / size
            return f"{share:.2f}{unit}" if share < 10 else f"{share:.1f}{unit}" if share < 100 else f"{share:.0f}{unit}"
    return str(number)


def format_score(mean: float | None, standard_error: float | None = None) -> str:
    """Format a score with its standard error: ``0.31 ± 0.02``; ``–`` for none."""
    if mean is None:
        return "–"
    return f"{mean:.2f}" if standard_error is None else f"{mean:.2f} ± {standard_error:.2f}"


def format_signed(number: int) -> str:
    """Format a sum of votes: ``+3``, ``-1``, ``0``."""
    return f"{number:+d}" if number else "0"


def format_limits(limits: Mapping[str, Any]) -> str:
    """Format the limits in force as one line."""
    said = [pattern.format(limits[key]) for key, pattern in _LIMITS.items() if limits.get(key) is not None]
    own = {key: value for key, value in (limits.get("researcher") or {}).items() if value is not None}
    if own:
        said.append("each researcher " + ", ".join(f"{key} {value}" for key, value in own.items()))
    return ", ".join(said) or "none"


def format_hourly_rate(usd_per_agent_hour: Decimal | None) -> str | None:
    """Format dollars per agent-hour for programs; None before any work."""
    return None if usd_per_agent_hour is None else f"{usd_per_agent_hour:.6f}"
