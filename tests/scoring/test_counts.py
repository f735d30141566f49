"""Counts of what was handed in, without loading it."""

from __future__ import annotations

from sqlalchemy import event

from aar.scoring.submissions import count_submissions

from .conftest import CAMPAIGN, Desk


def test_submissions_are_counted_where_they_are(desk: Desk) -> None:
    for index in range(3):
        desk.submit(desk.method(f"print({index})"), researcher=1 + index % 2)
    statements: list[str] = []
    event.listen(desk.db.engine, "before_cursor_execute", lambda *seen: statements.append(seen[2]))
    with desk.db.reading() as session:
        counts = [count_submissions(session, CAMPAIGN, who) for who in (None, f"{CAMPAIGN}-r1", f"{CAMPAIGN}-r2")]
    assert counts == [3, 2, 1]
    assert all("count(" in each for each in statements if "FROM submission" in each)
