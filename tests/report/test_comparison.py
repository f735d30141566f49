"""Two specs side by side."""

from __future__ import annotations

from aar.report.comparison import spec_rows


def test_specs_are_compared_field_by_field_those_that_differ_first() -> None:
    left = {"name": "a", "limits": {"usd": "5", "hours": 1}, "prices": {}, "database": None}
    right = {"name": "a", "limits": {"usd": "5", "hours": 2}, "directions": {"names": ["x"]}}
    rows = [(row.field, row.left, row.right, row.differs) for row in spec_rows(left, right)]
    assert rows == [
        ("directions.names", "–", '["x"]', True),
        ("limits.hours", "1", "2", True),
        ("limits.usd", "5", "5", False),
        ("name", "a", "a", False),
    ]
