"""Measured beside confirmed beside transferred, audits and what fell, in the report."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from aar.problems.protocol import Metric
from aar.report.charts.transfer_chart import transfer_chart
from aar.report.html_report import render_report
from aar.report.report_data import ReportData, build_report
from aar.scoring.results.ranking_statistics import shrink_scores
from aar.snapshots.store import SnapshotStore
from aar.store.database import Database
from aar.testing.example_audits import PEOPLE_ONLY
from aar.testing.example_campaign import PART, SECRET

from ..example_copies import ExampleCopies

PGR = Metric("PGR", True, 1.0, 0.23, "people")


@pytest.fixture(scope="module")
def data(example_copies: ExampleCopies, tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    home: Path = tmp_path_factory.mktemp("home")
    example_copies.copy(home, audits=True)
    db = Database(f"sqlite:///{home / 'aar.db'}")
    try:
        with db.reading() as session:
            return build_report(session, SnapshotStore(home / "campaigns" / "k3v9qd" / "snapshots"), "k3v9qd")
    finally:
        db.close()


@pytest.fixture(scope="module")
def html(data: ReportData) -> str:
    return render_report(data)


@pytest.mark.parametrize(
    "part",
    [
        "The best confirmed one reached PGR 0.47 on sealed splits",
        "the human baseline is 0.23",
        "Measured, confirmed, transferred",
        "amazon 0.29, nyt 0.33, tweet 0.37",
        "empirical Bayes",
        "teacher-independent",
        "disqualified by static: static.network",
        "Not reviewed: the campaign",
        "Refuted at confirmation",
    ],
)
def test_it_says_what_holds(html: str, part: str) -> None:
    assert part in html


def test_nothing_unrounded_is_in_it(html: str) -> None:
    for secret in (str(PEOPLE_ONLY), str(PART), SECRET):
        assert secret not in html
    assert "<script>" not in html


def test_winners_are_those_that_were_looked_at_again(data: ReportData) -> None:
    assert [each.submission.number for each in data.winners] == [12, 10, 7]
    twelve = data.winners[0]
    assert twelve.confirmed is not None
    assert twelve.transferred is not None
    assert (twelve.measured.mean, twelve.confirmed.score.mean, twelve.transferred.score.mean) == (0.52, 0.47, 0.33)
    assert data.winners[2].transferred is None


def test_the_best_is_corrected_for_being_picked_from_all(data: ReportData) -> None:
    found = data.corrected
    assert found is not None
    scored = [each for each in data.submissions if each.mean is not None]
    assert (found.number, found.of) == (14, len(scored))
    pairs = [(each.mean or 0.0, each.standard_error or 0.0) for each in scored]
    assert (found.mean, found.standard_error) == shrink_scores(pairs)[[each.number for each in scored].index(14)]
    assert found.mean < 0.55


def test_audits_are_counted_by_verdict(data: ReportData) -> None:
    counts = {each.audit: {key: number for key, number in each.verdicts.items() if number} for each in data.audits}
    assert counts["static"] == {"passed": 5, "disqualified": 1}
    assert counts["teacher"] == {"passed": 2, "labelled": 1}
    assert counts["reviewer"] == {"skipped": 3}
    assert {number for number, _ in data.findings} == {10, 13}


def test_bars_are_as_long_as_their_scores(data: ReportData) -> None:
    drawn = str(transfer_chart(data.winners, PGR))
    wide = ElementTree.fromstring(re.findall(r"<svg.*?</svg>", drawn)[0])
    space = "{http://www.w3.org/2000/svg}"
    bars = [
        (group.find(f"{space}title").text, float(group.find(f"{space}rect").get("width")))  # type: ignore[union-attr,arg-type]
        for group in wide.iter(f"{space}g")
    ]
    assert len(bars) == 3 + 3 + 2
    scales = [width / float(re.search(r"\d\.\d+", str(title))[0]) for title, width in bars]  # type: ignore[index]
    assert max(scales) - min(scales) < 0.02 * max(scales)
    assert "human 0.23" in drawn
