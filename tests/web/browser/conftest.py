"""The example campaign with its closer looks, served to a browser."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from aar.snapshots.store import SnapshotStore
from aar.testing.example_checks import add_checks

from ..conftest import Site, write_site
from .addresses import pages_of


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A campaign that has of everything: confirmations, audits, a disqualification, a queue, an attack in a post."""
    made = write_site(tmp_path_factory.mktemp("home"))
    add_checks(made.db, SnapshotStore(made.home / "campaigns" / "k3v9qd" / "snapshots"), made.home / "methods")
    yield made
    made.db.close()


@pytest.fixture(scope="module")
def pages(site: Site, address: str) -> list[str]:
    """Addresses of all that is sent as HTML; the rest (redirects, downloads) must at least be there."""
    shown = []
    with httpx.Client(base_url=address) as client:
        for path in pages_of(site.app()):
            answer = client.get(path)
            assert answer.status_code in (200, 303, 307), (path, answer.status_code, answer.text[:300])
            if answer.status_code == 200 and answer.headers["content-type"].startswith("text/html"):
                shown.append(path)
    return shown
