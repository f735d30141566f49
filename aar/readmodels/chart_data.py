"""Chart data as tables: pages link them below each chart as CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from aar.budget.totals import Totals
from aar.readmodels.progress import Progress
from aar.readmodels.submission_code import find_parent, lineage_tree
from aar.readmodels.submission_details import SeedScore
from aar.scoring.submissions import SubmissionView
from aar.text import clean_line

Cell = str | int | float | Decimal | None
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class ChartTable:
    """A table of named columns and rows."""

    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]


def to_csv(table: ChartTable) -> str:
    """Formats a table as CSV (RFC 4180).

    Text that a spreadsheet would take for a formula is prefixed with an apostrophe.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(table.columns)
    writer.writerows([_inert(cell) for cell in row] for row in table.rows)
    return buffer.getvalue()


def score_table(progress: Progress) -> ChartTable:
    """Lists measured submissions by time: cost, score, and the best so far."""
    frontier = {point.submission.number for point in progress.frontier}
    best: float | None = None
    rows: list[tuple[Cell, ...]] = []
    for point in progress.points:
        each = point.submission
        best = point.mean if each.number in frontier else best
        head = (each.number, each.researcher_name, each.title, each.status)
        rows.append(
            (*head, round(point.minutes, 2), round(point.usd, 4), point.mean, point.low, point.high, best),
        )
    columns = ("submission", "researcher", "title", "status", "minutes", "usd", "score", "low", "high", "best_so_far")
    return ChartTable(columns, rows)


def diversity_table(progress: Progress) -> ChartTable:
    """Lists diversity measurements: bits, their 90 % band, the Vendi score."""
    rows: list[tuple[Cell, ...]] = [
        (round(each.minutes, 2), each.bits, each.low, each.high, each.vendi) for each in progress.diversity
    ]
    return ChartTable(("minutes", "bits", "low", "high", "vendi"), rows)


def lineage_table(submissions: Sequence[SubmissionView]) -> ChartTable:
    """Lists every submission below its parent."""
    rows: list[tuple[Cell, ...]] = []
    for entry in lineage_tree(submissions):
        each = entry.submission
        parent = find_parent(each, submissions)
        rows.append(
            (
                each.number,
                None if parent is None else parent.number,
                entry.depth,
                each.researcher_name,
                each.title,
                each.status,
                each.mean,
            )
        )
    return ChartTable(("submission", "parent", "depth", "researcher", "title", "status", "score"), rows)


def cost_table(researchers: Mapping[str, Totals], whole: Totals) -> ChartTable:
    """Lists costs by researcher (by name) and kind.

    The last row is the campaign, baseline runs included.
    """
    rows: list[tuple[Cell, ...]] = [_bill(name, each) for name, each in researchers.items()]
    columns = ("researcher", "agent_hours", "model_usd", "compute_usd", "lost_usd", "usd", "usd_per_agent_hour")
    return ChartTable((*columns, "tokens"), [*rows, _bill("all", whole)])


def seed_table(scores: Sequence[SeedScore]) -> ChartTable:
    """Lists one submission's score on each split."""
    rows: list[tuple[Cell, ...]] = [(each.phase, each.domain, each.number, each.score) for each in scores]
    return ChartTable(("phase", "domain", "number", "score"), rows)


def _bill(name: str, each: Totals) -> tuple[Cell, ...]:
    hours, rate = round(each.agent_seconds / 3600, 4), each.usd_per_agent_hour
    rate = None if rate is None else round(rate, 4)
    return (name, hours, each.model_usd, each.compute_usd, each.lost_usd, each.usd, rate, each.total_tokens)


def _inert(cell: Cell) -> Cell:
    if not isinstance(cell, str):
        return cell
    text = clean_line(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text
