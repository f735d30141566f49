"""An example campaign in a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.database import Database
from aar.testing.example_campaign import ExampleCampaign, write_example_campaign


@dataclass(frozen=True, slots=True)
class Archive:
    """A database with one campaign, and its snapshots."""

    db: Database
    snapshots: SnapshotStore
    example: ExampleCampaign


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    home = tmp_path_factory.mktemp("home")
    methods = home / "methods"
    methods.mkdir()
    snapshots = SnapshotStore(home / "snapshots")
    db = open_database(f"sqlite:///{home / 'aar.db'}")
    try:
        example = asyncio.run(write_example_campaign(db, snapshots, methods))
        yield Archive(db, snapshots, example)
    finally:
        db.close()
