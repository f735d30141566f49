"""What a campaign knows of its snapshots."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session

from aar.errors import NotFound
from aar.events import SnapshotTaken
from aar.redteam.campaign_rows import add_campaign
from aar.snapshots.lineage import record_snapshot, resolve_digest
from aar.snapshots.store import SavedSnapshot
from aar.store import event_log, open_database
from aar.store.models import Snapshot, Submission

A, B, C = ("a" * 64, "abcd" + "b" * 60, "c" * 64)


@pytest.fixture
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    db = open_database(f"sqlite:///{tmp_path_factory.mktemp('db')}/aar.db")
    with db.writing() as session:
        add_campaign(session)
        yield session
    db.close()


def note(session: Session, digest: str, parent: str | None = None) -> None:
    record_snapshot(session, "k3v9qd", "k3v9qd-r1", SavedSnapshot(digest, 2, 9), parent)


def parents(session: Session) -> dict[str, str | None]:
    return {row.digest: row.parent for row in session.query(Snapshot).filter_by(campaign_id="k3v9qd")}


def test_a_line_leads_back_to_its_start(session: Session) -> None:
    note(session, A)
    note(session, B, A)
    note(session, C, B)
    assert parents(session) == {C: B, B: A, A: None}


def test_recording_again_changes_nothing_so_no_line_is_a_ring(session: Session) -> None:
    note(session, A, A)
    note(session, B, A)
    note(session, A, B)
    assert parents(session) == {B: A, A: None}
    events = [logged.event for logged in event_log.read_events(session, "k3v9qd")]
    assert events == [SnapshotTaken(digest=A, parent=None), SnapshotTaken(digest=B, parent=A)]


def test_a_parent_must_be_known(session: Session) -> None:
    with pytest.raises(NotFound, match="parent"):
        note(session, B, A)
    assert event_log.latest_event_id(session, "k3v9qd") == 0


def test_what_a_person_types_is_resolved(session: Session) -> None:
    note(session, A)
    note(session, B)
    session.add(
        Submission(
            campaign_id="k3v9qd", number=7, researcher_id="k3v9qd-r1", digest=B, title="t", claim="c", state="queued"
        )
    )
    session.flush()
    assert [resolve_digest(session, "k3v9qd", text) for text in ("s7", " S7 ", "abcd", B, "AAAA", A)] == [
        B,
        B,
        B,
        B,
        A,
        A,
    ]
    for text in ("s8", "a", "abc%", "dddd", "", "s", "aaaa_", "s" + "9" * 30):
        with pytest.raises(NotFound):
            resolve_digest(session, "k3v9qd", text)
    note(session, "abcd" + "e" * 60)
    with pytest.raises(NotFound, match="which matches abcdbbbb"):
        resolve_digest(session, "k3v9qd", "abcd")
