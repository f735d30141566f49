"""Axes and charts: what is drawn is where it belongs."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.problems.protocol import Metric
from aar.readmodels.progress import DiversityPoint, Progress, ScorePoint
from aar.report.charts.diversity_chart import diversity_chart
from aar.report.charts.score_chart import interval_bar, score_chart
from aar.report.charts.svg import LinearScale, axis_range, ticks, time_ticks
from aar.scoring.submissions import SubmissionView

PGR = Metric("PGR", True, 1.0, 0.23, "people")
_finite = st.floats(-1e6, 1e6)


def point(number: int, minutes: float, mean: float, title: str = "t") -> ScorePoint:
    at = datetime(2026, 4, 1, tzinfo=UTC)
    view = SubmissionView(
        id=number,
        campaign_id="k3v9qd",
        number=number,
        researcher_id="k3v9qd-r1",
        researcher_name="r1",
        digest="0" * 64,
        parent=None,
        title=title,
        claim="c",
        families=(),
        state="measured",
        status="measured",
        verdict="",
        mean=mean,
        standard_error=0.01,
        low=mean - 0.02,
        high=mean + 0.02,
        seeds=3,
        created_at=at,
        finished_at=at,
    )
    return ScorePoint(minutes, view, mean, mean - 0.02, mean + 0.02)


def draw(points: list[ScorePoint], minutes: float = 10.0) -> str:
    return str(score_chart(Progress(points, points[:1], minutes, []), PGR, {"k3v9qd-r1": 1}))


@given(low=_finite, size=st.floats(1e-3, 1e6), most=st.integers(1, 12))
def test_ticks_lie_within_and_are_not_too_many(low: float, size: float, most: int) -> None:
    found = ticks(low, low + size, most)
    assert len(found) <= most + 1
    slack = 1e-6 * max(abs(low), abs(low + size), 1)
    assert all(low - slack <= value <= low + size + slack for value in found)


@given(minutes=st.floats(0.5, 1e5), most=st.integers(3, 10))
def test_time_begins_at_zero_and_stays_legible(minutes: float, most: int) -> None:
    found = time_ticks(minutes, most)
    assert found[0] == 0
    assert found[-1] <= minutes
    assert len(found) <= most + 1


@given(values=st.lists(_finite, max_size=30), anchors=st.lists(st.floats(-1, 1), max_size=2))
def test_a_range_is_never_empty_and_holds_its_anchors(values: list[float], anchors: list[float]) -> None:
    low, high = axis_range(values, anchors)
    assert low < high
    assert all(low <= anchor <= high for anchor in anchors)


def test_a_far_outlier_does_not_press_the_others_into_a_line() -> None:
    low, high = axis_range([-9.0, 0.2, 0.3, 0.35, 0.4, 0.5], [0.0])
    assert low > -1
    assert high > 0.5


def test_a_scale_keeps_to_its_edges() -> None:
    scale = LinearScale(0.0, 10.0, 100.0, 0.0)
    assert (scale(0), scale(5), scale(10), scale(99)) == (100.0, 50.0, 0.0, 0.0)


def test_the_chart_is_wellformed_and_says_in_words_what_it_shows() -> None:
    svg = draw([point(1, 2.0, 0.2), point(2, 5.0, 0.4, title='<script>"&')])
    for drawing in re.findall(r"<svg.*?</svg>", svg, re.DOTALL):
        root = ElementTree.fromstring(drawing)
        assert root.attrib["aria-label"].startswith("PGR over time: 2 measured submissions")
        assert len([each for each in root.iter() if each.tag.endswith("circle")]) == 2
    assert "<script>" not in svg


def test_a_higher_score_is_drawn_higher_and_a_later_one_further_right() -> None:
    drawn = [
        (float(x), float(y))
        for x, y in re.findall(r'cx="(.*?)" cy="(.*?)"', draw([point(1, 2, 0.2), point(2, 5, 0.4)]))
    ]
    (x1, y1), (x2, y2) = drawn[:2]
    assert x1 < x2
    assert y1 > y2


def test_a_score_off_the_axis_is_an_arrow_on_its_edge() -> None:
    svg = draw([point(index, index, value) for index, value in enumerate([0.2, 0.3, 0.35, 0.4, -9.0])])
    assert svg.count('class="beyond"') == 2
    assert svg.count("<circle") == 8


@pytest.mark.parametrize("minutes", [0.0, 0.5, 90.0, 3000.0])
def test_nothing_measured_is_drawn_as_nothing(minutes: float) -> None:
    svg = draw([], minutes)
    assert "nothing measured yet" in svg
    assert "frontier" not in svg
    assert ("hours" if minutes > 180 else "minutes") in svg


def test_diversity_and_interval_bars_are_wellformed() -> None:
    diversity = str(diversity_chart(Progress([], [], 10, [DiversityPoint(0.0, 2.0), DiversityPoint(5.0, 1.5)]), 4))
    assert diversity.count('class="diversity"') == 2
    ElementTree.fromstring(str(interval_bar(0.4, 0.3, 0.5, (0.0, 1.0), 0.23)))
