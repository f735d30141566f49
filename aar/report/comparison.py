"""Compares two campaigns: specs, progress and costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from aar.budget.totals import Totals, read_totals
from aar.problems.protocol import Metric
from aar.readmodels.formatting import typeset_score
from aar.readmodels.leaderboard import Board, read_board
from aar.readmodels.progress import HorizontalAxis, Progress, list_visible_submissions, read_progress
from aar.scoring.visibility import Audience


@dataclass(frozen=True, slots=True)
class ComparedCampaign:
    """One of the two campaigns."""

    progress: Progress
    board: Board
    totals: Totals
    submissions: int


@dataclass(frozen=True, slots=True)
class SpecRow:
    """A field of both specs, as JSON; a dash for a missing one."""

    field: str
    left: str
    right: str

    @property
    def differs(self) -> bool:
        """Returns True if the two values differ."""
        return self.left != self.right


def read_compared_campaign(
    session: Session, campaign_id: str, metric: Metric | None, audience: Audience = Audience.OPERATOR
) -> ComparedCampaign:
    """Reads one campaign's progress, as an audience may see it."""
    higher = metric is None or metric.higher_is_better
    submissions = list_visible_submissions(session, campaign_id, audience)
    return ComparedCampaign(
        progress=read_progress(session, campaign_id, submissions, higher_is_better=higher),
        board=read_board(session, campaign_id, higher_is_better=higher, audience=audience),
        totals=read_totals(session, campaign_id).campaign,
        submissions=len(submissions),
    )


def spec_rows(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[SpecRow]:
    """Lists all fields of both specs by dotted name.

    Fields that differ come first.
    """
    one, other = _flat(left), _flat(right)
    rows = [SpecRow(field, one.get(field, "–"), other.get(field, "–")) for field in sorted({*one, *other})]
    return sorted(rows, key=lambda row: (not row.differs, row.field))


def describe_comparison(sides: Sequence[Progress], metric: Metric | None, over: HorizontalAxis) -> str:
    """Describes both campaigns' scores in words."""
    best = [typeset_score(each.frontier[-1].mean if each.frontier else None) for each in sides]
    name, what = metric.name if metric else "score", "dollars" if over == "usd" else "time"
    return f"{name} over {what} of both campaigns: best {best[0]} left, {best[1]} right."


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        fields: dict[str, str] = {}
        for key, each in value.items():
            fields |= _flat(each, f"{prefix}.{key}" if prefix else str(key))
        return fields
    if value is None or value in ({}, []):
        return {}
    return {prefix: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}
