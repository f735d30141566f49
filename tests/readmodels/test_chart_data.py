"""Charts as tables."""

from __future__ import annotations

import csv
import io

import pytest

from aar.budget.totals import read_totals
from aar.readmodels.chart_data import ChartTable, cost_table, diversity_table, lineage_table, score_table, to_csv
from aar.readmodels.progress import list_visible_submissions, read_progress

from ..report.conftest import Archive


def test_every_chart_is_a_table_too(archive: Archive) -> None:
    with archive.db.reading() as session:
        submissions = list_visible_submissions(session, "k3v9qd")
        found = read_progress(session, "k3v9qd", submissions)
        spent = read_totals(session, "k3v9qd")
    scores = score_table(found)
    assert len(scores.rows) == 13
    best = [row[scores.columns.index("best_so_far")] for row in scores.rows]
    assert best[0] == 0.21
    assert best[-1] == 0.55
    usd = [row[scores.columns.index("usd")] for row in scores.rows]
    assert usd == sorted(usd)  # type: ignore[type-var]
    assert usd[-1] > 0  # type: ignore[operator]
    assert found.points[-1].usd <= found.usd == pytest.approx(float(spent.campaign.usd))
    assert len(diversity_table(found).rows) == 14
    lineage = {row[0]: row[1] for row in lineage_table(submissions).rows}
    assert (lineage[14], lineage[12], lineage[1]) == (12, 6, None)
    costs = cost_table(spent.researchers, spent.campaign)
    at = costs.columns.index("usd")
    assert sum(row[at] for row in costs.rows[:-1]) == costs.rows[-1][at]  # type: ignore[misc]


def test_no_cell_of_a_csv_is_taken_for_a_formula() -> None:
    cells = ('=HYPERLINK("x")', "+1", "-2", "@a", "plain, with comma", 'and "quotes"')
    read = list(
        csv.reader(
            io.StringIO(to_csv(ChartTable(("a", "b", "c", "d", "e", "f"), [cells, (1, -2.5, None, "", "é", "x\ny")])))
        )
    )
    assert read[1] == ['\'=HYPERLINK("x")', "'+1", "'-2", "'@a", "plain, with comma", 'and "quotes"']
    assert read[2] == ["1", "-2.5", "", "", "é", "x y"]
