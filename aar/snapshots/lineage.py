"""Records the snapshots of a campaign and their parents, and lists them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.errors import NotFound
from aar.events import SnapshotTaken
from aar.snapshots.store import SavedSnapshot
from aar.store import event_log
from aar.store.models import Researcher, Snapshot, Submission

_NUMBER = re.compile(r"[sS]([0-9]{1,9})")
_PREFIX = re.compile(r"[0-9a-f]{4,64}")


def record_snapshot(
    session: Session, campaign_id: str, researcher_id: str | None, saved: SavedSnapshot, parent: str | None
) -> None:
    """Record a saved snapshot and its parent.

    Recording a digest again for the same campaign changes nothing.

    Args:
        session: in a write transaction.
        campaign_id: the snapshot's campaign.
        researcher_id: its author; None for the controller.
        saved: the result of ``SnapshotStore.save``.
        parent: digest that it was made from, which the campaign must already have; None for a fresh start.

    Raises:
        NotFound: the campaign has no snapshot ``parent``.
    """
    event_log.lock_campaign(session, campaign_id)
    if session.get(Snapshot, (saved.digest, campaign_id)) is not None:
        return
    parent = None if parent == saved.digest else parent
    if parent is not None and session.get(Snapshot, (parent, campaign_id)) is None:
        raise NotFound(f"no parent snapshot {parent[:12]!r} in this campaign", "Name one that exists, or none")
    session.add(
        Snapshot(
            digest=saved.digest,
            campaign_id=campaign_id,
            researcher_id=researcher_id,
            parent=parent,
            files=saved.files,
            size_bytes=saved.size_bytes,
        )
    )
    event_log.append_event(session, campaign_id, SnapshotTaken(digest=saved.digest, parent=parent), researcher_id)


def resolve_digest(session: Session, campaign_id: str, prefix_or_s_number: str) -> str:
    """Resolve a submission number or digest prefix to a digest.

    Args:
        session: for reading.
        campaign_id: the snapshots' campaign.
        prefix_or_s_number: a submission such as "s7", or the first four or more digits of a digest.

    Raises:
        NotFound: no snapshot matches, or more than one does.
    """
    asked = prefix_or_s_number.strip()
    if number := _NUMBER.fullmatch(asked):
        digest = session.scalar(
            select(Submission.digest).where(Submission.campaign_id == campaign_id, Submission.number == int(number[1]))
        )
        if digest is None:
            raise NotFound(f"no submission {asked} in this campaign", "See the leaderboard for their numbers")
        return digest
    if not _PREFIX.fullmatch(asked.lower()):
        raise NotFound(
            f"snapshot reference invalid: got {asked[:80]!r}",
            "Give a submission such as s7, or four or more digits of a digest",
        )
    query = select(Snapshot.digest).where(
        Snapshot.campaign_id == campaign_id, Snapshot.digest.startswith(asked.lower())
    )
    found = list(session.scalars(query.order_by(Snapshot.digest).limit(4)))
    if len(found) > 1:
        listed = ", ".join(digest[:16] for digest in found)
        raise NotFound(f"snapshot reference ambiguous: got {asked!r}, which matches {listed}", "Give more digits")
    if not found:
        raise NotFound(f"no snapshot {asked!r} in this campaign", "See the leaderboard for submissions")
    return found[0]


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
