"""A real database with one campaign written down, for tests that need no sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.store import open_database
from aar.store.database import Database
from aar.store.models import Campaign, Researcher

CAMPAIGN = "abc234"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    db = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    with db.writing() as session:
        session.add(Campaign(id=CAMPAIGN, name="t", problem="toy", spec={}, state="created", secret="0" * 64))
        session.flush()
        for index in (1, 2):
            session.add(
                Researcher(
                    id=f"{CAMPAIGN}-r{index}",
                    campaign_id=CAMPAIGN,
                    name=f"r{index}",
                    index=index,
                    direction_key=f"d{index}",
                    direction="Go and look.",
                    model="offline-search",
                    state="running",
                )
            )
    yield db
    db.close()
