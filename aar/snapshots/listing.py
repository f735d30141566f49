"""Lists the snapshots of a campaign, for reading or building on their code."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.store.models import Researcher, Snapshot, Submission


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """A snapshot; ``submissions`` are the numbers under which its code was submitted."""

    digest: str
    parent: str | None
    researcher_name: str | None
    files: int
    size_bytes: int
    created_at: datetime
    submissions: tuple[int, ...]


def list_snapshots(session: Session, campaign_id: str, *, skip: int = 0, limit: int = 50) -> list[SnapshotView]:
    """List snapshots, newest first.

    Args:
        skip: the number of the newest that were seen already.
        limit: most to return.
    """
    rows = session.execute(
        select(Snapshot, Researcher.name)
        .outerjoin(Researcher, Researcher.id == Snapshot.researcher_id)
        .where(Snapshot.campaign_id == campaign_id)
        .order_by(Snapshot.created_at.desc(), Snapshot.digest)
        .offset(skip)
        .limit(limit)
    ).all()
    numbers = _numbers(session, campaign_id, [snapshot.digest for snapshot, _ in rows])
    return [
        SnapshotView(
            snapshot.digest,
            snapshot.parent,
            name,
            snapshot.files,
            snapshot.size_bytes,
            snapshot.created_at,
            tuple(numbers.get(snapshot.digest, ())),
        )
        for snapshot, name in rows
    ]


def _numbers(session: Session, campaign_id: str, digests: list[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    query = select(Submission.digest, Submission.number).where(
        Submission.campaign_id == campaign_id, Submission.digest.in_(digests)
    )
    for digest, number in session.execute(query.order_by(Submission.number)):
        found.setdefault(digest, []).append(number)
    return found
