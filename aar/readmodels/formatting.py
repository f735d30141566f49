"""Formats money, durations, counts, scores, times and model names for people."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from aar.forum.authors import EXTERNAL_MODEL
from aar.problems.protocol import Stage
from aar.scoring.phases import IN_NEW_COORDINATES, PERMUTED

OFFLINE_MODEL = "offline-search"
OFFLINE_LABEL = "offline search baseline (not an LLM)"
EXTERNAL_LABEL = "external (an agent of its own)"
PUBLIC_USD_PER_AGENT_HOUR = Decimal(22)
"""Cost of an agent-hour in the public study, tokens and GPUs together ($18,000 for 800 hours)."""


def is_offline(model: str) -> bool:
    """Returns True if a model id means the offline search baseline."""
    return model == OFFLINE_MODEL


def model_label(model: str) -> str:
    """Returns a model's name for people."""
    return {OFFLINE_MODEL: OFFLINE_LABEL, EXTERNAL_MODEL: EXTERNAL_LABEL}.get(model, model)


def format_money(usd: Decimal | None) -> str:
    """Formats dollars with two decimals; a dash for None.

    Small sums get more digits where cents would hide them.
    """
    if usd is None:
        return "–"
    if usd and abs(usd) < Decimal("0.01"):
        return f"${usd:.4f}"
    return f"${usd:,.2f}"


def format_duration(seconds: float) -> str:
    """Formats a duration in its two largest units.

    ``3 h 05 min``, ``4 min 10 s``, ``12 s``.
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_count(number: int) -> str:
    """Formats a count with thin spaces: ``12,345``; from a million on ``1.2 M``."""
    return f"{number / 1e6:.1f} M" if number >= 1_000_000 else f"{number:,}"


def format_score(value: float | None) -> str:
    """Formats a score with two decimals and a minus sign; a dash for None."""
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def format_time(at: datetime) -> str:
    """Formats a time: ``2026-04-01 09:30 UTC``."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


TEMPLATE_FILTERS = {
    "model_label": model_label,
    "is_offline": is_offline,
    "money": format_money,
    "duration": format_duration,
    "count": format_count,
    "score": format_score,
    "moment": format_time,
}
"""Filters for templates."""


_LABELS = {
    str(Stage.MEASURE): "measured",
    str(Stage.CONFIRM): "confirmed, on sealed splits",
    str(Stage.TRANSFER): "on the transfer domains",
    PERMUTED.key: "teacher's labels permuted",
    IN_NEW_COORDINATES.key: "on the same sealed splits, in other coordinates",
}


def phase_label(key: str) -> str:
    """Returns the name of a phase's key."""
    if key.startswith("noise-"):
        return f"{key.removeprefix('noise-')} % of the teacher's labels corrupted"
    return _LABELS.get(key, key)
