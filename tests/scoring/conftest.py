"""A campaign with three researchers in a real database, and a snapshot store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aar.scoring.manifest import read_manifest
from aar.scoring.submissions import SubmissionView, submit
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.database import Database
from aar.store.models import Campaign, Researcher

CAMPAIGN = "k3v9qd"


@dataclass(frozen=True, slots=True)
class Desk:
    """A campaign's database and snapshots, and a folder to write methods in."""

    db: Database
    snapshots: SnapshotStore
    folder: Path

    def method(self, code: str, *, title: str = "A method", families: str = "[other]", extra: str = "") -> Path:
        """A method's directory with ``run.py`` and ``method.yaml``."""
        directory = self.folder / f"method-{len(list(self.folder.iterdir()))}"
        directory.mkdir()
        (directory / "run.py").write_text(code)
        (directory / "method.yaml").write_text(f"title: {title}\nclaim: It works.\nfamilies: {families}\n{extra}")
        return directory

    def submit(self, directory: Path, researcher: int = 1, key: str | None = None) -> SubmissionView:
        """Hand a method in."""
        saved = self.snapshots.save(directory)
        with self.db.writing() as session:
            return submit(
                session,
                campaign_id=CAMPAIGN,
                researcher_id=f"{CAMPAIGN}-r{researcher}",
                saved=saved,
                manifest=read_manifest(directory),
                idempotency_key=key,
            )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    folder = tmp_path / "methods"
    folder.mkdir()
    db = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    with db.writing() as session:
        session.add(Campaign(id=CAMPAIGN, name="test", problem="toy", spec={}, state="running", secret="s" * 64))
        session.flush()
        for index in (1, 2, 3):
            session.add(
                Researcher(
                    id=f"{CAMPAIGN}-r{index}",
                    campaign_id=CAMPAIGN,
                    name=f"r{index}",
                    index=index,
                    direction_key="d",
                    direction="try things",
                    model="offline-search",
                    state="running",
                )
            )
    yield Desk(db, SnapshotStore(tmp_path / "snapshots"), folder)
    db.close()
