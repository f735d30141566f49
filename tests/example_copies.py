"""The example campaign, written once by real services and copied for each test that wants one of its own."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.testing.example_audits import add_example_audits
from aar.testing.example_campaign import ExampleCampaign, write_example_campaign

_FRESH_SECONDS = 60.0
"""The campaign tells of the 48 minutes until now: an older one is written again."""


class ExampleCopies:
    """Makes homes with the example campaign.

    Args:
        make_folder: makes an empty folder.
    """

    def __init__(self, make_folder: Callable[[], Path]) -> None:
        self._make_folder = make_folder
        self._written: dict[bool, tuple[float, Path, ExampleCampaign]] = {}

    def copy(self, home: Path, *, audits: bool = False) -> ExampleCampaign:
        """Put the campaign in a home folder, with audits and confirmations if wanted; returns its tokens and posts."""
        written = self._written.get(audits)
        if written is None or time.monotonic() - written[0] > _FRESH_SECONDS:
            # In a thread: Playwright's own event loop may be running in this one.
            with ThreadPoolExecutor(1) as thread:
                written = self._written[audits] = thread.submit(self._write, audits).result()
        shutil.copytree(written[1], home, dirs_exist_ok=True)
        return written[2]

    def _write(self, audits: bool) -> tuple[float, Path, ExampleCampaign]:
        home = self._make_folder()
        (home / "methods").mkdir()
        db = open_database(f"sqlite:///{home / 'aar.db'}")
        snapshots = SnapshotStore(home / "campaigns" / "k3v9qd" / "snapshots")
        try:
            example = asyncio.run(write_example_campaign(db, snapshots, home / "methods"))
            if audits:
                add_example_audits(db, snapshots, home / "methods")
        finally:
            db.close()
        return time.monotonic(), home, example
