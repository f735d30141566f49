"""An example campaign in a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from aar.snapshots.store import SnapshotStore
from aar.store.database import Database
from aar.testing.example_campaign import ExampleCampaign

from ..example_copies import ExampleCopies


@dataclass(frozen=True, slots=True)
class Archive:
    """A database with one campaign, and its snapshots."""

    db: Database
    snapshots: SnapshotStore
    example: ExampleCampaign


@contextmanager
def open_archive(example_copies: ExampleCopies, home: Path) -> Iterator[Archive]:
    """A copy of the example campaign in a folder."""
    example = example_copies.copy(home)
    db = Database(f"sqlite:///{home / 'aar.db'}")
    try:
        yield Archive(db, SnapshotStore(home / "campaigns" / "k3v9qd" / "snapshots"), example)
    finally:
        db.close()


@pytest.fixture
def archive(example_copies: ExampleCopies, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """A campaign of the test's own."""
    with open_archive(example_copies, tmp_path_factory.mktemp("archive")) as made:
        yield made
