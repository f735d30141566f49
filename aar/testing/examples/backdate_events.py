"""Backdates a campaign's log, written within a second, over realistic minutes."""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from aar.store.column_types import now
from aar.store.models import Campaign, Comment, EventRecord, LedgerEntry, Post, Submission


def spread_events(session: Session, minutes: int) -> None:
    """Spread the log evenly over so many minutes until now.

    All other times follow their events.
    """
    log = list(session.scalars(select(EventRecord).order_by(EventRecord.id)))
    written = [each.at for each in log]
    begin, step = now() - timedelta(minutes=minutes), timedelta(minutes=minutes) / len(log)

    def moved(at: datetime) -> datetime:
        return begin + step * bisect_left(written, at)

    guards = session.execute(
        text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'event'")
    ).all()
    for guard in guards:  # the log refuses changes, and this one is made up
        session.execute(text(f"DROP TRIGGER {guard.name}"))
    for index, each in enumerate(log):
        each.at = begin + step * index
    session.flush()
    for guard in guards:
        session.execute(text(guard.sql))
    for written_text in [*session.scalars(select(Post)), *session.scalars(select(Comment))]:
        written_text.created_at = moved(written_text.created_at)
    for submission in session.scalars(select(Submission)):
        submission.created_at = moved(submission.created_at)
        submission.finished_at = submission.finished_at and moved(submission.finished_at)
    bills = list(session.scalars(select(LedgerEntry).order_by(LedgerEntry.id)))
    for index, bill in enumerate(bills, start=1):
        bill.created_at = moved(bill.created_at)
        bill.settled_at = begin + timedelta(minutes=minutes) * index / (len(bills) + 1)
    campaign = session.get_one(Campaign, "k3v9qd")
    campaign.created_at = campaign.started_at = begin
