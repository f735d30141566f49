"""A campaign of three researchers, and a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aar.forum.authors import Author
from aar.forum.posts import create_post
from aar.forum.views import PostView
from aar.redteam.campaign_rows import add_campaign
from aar.store import Database, open_database

ANA = Author("human:ana", None)


@pytest.fixture
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """On SQLite; on PostgreSQL for tests with that parameter."""
    postgres = getattr(request, "param", "sqlite") == "postgresql"
    database = open_database(request.getfixturevalue("postgres_url") if postgres else f"sqlite:///{tmp_path}/aar.db")
    with database.writing() as session:
        add_campaign(session, "k3v9qd", researchers=3)
        add_campaign(session, "other2", researchers=1)
    yield database
    database.close()


@pytest.fixture
def authors() -> dict[str, Author]:
    """By name: r1, r2, r3 and the person "ana"."""
    return {"ana": ANA} | {f"r{index}": Author(f"r{index}", f"k3v9qd-r{index}") for index in (1, 2, 3)}


@pytest.fixture
def post(db: Database, authors: dict[str, Author]) -> Callable[..., PostView]:
    """``post("r1", title="...", body="...")`` writes a post."""

    def write(author: str = "r1", **fields: Any) -> PostView:
        asked = {"kind": "insight", "title": "a title", "body": "a body"} | fields
        return db.write_now(lambda session: create_post(session, "k3v9qd", authors[author], **asked))

    return write
