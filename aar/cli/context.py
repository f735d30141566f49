"""The settings and the open database that a command works with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aar.campaign.views import CampaignView, get_campaign
from aar.settings import Settings, get_settings
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.database import Database


@dataclass(frozen=True, slots=True)
class CliContext:
    """The settings in force and the open database."""

    settings: Settings
    database: Database

    def campaign(self, name: str) -> CampaignView:
        """Return a campaign by its id, the beginning of its id, or ``latest``.

        Raises NotFound.
        """

        with self.database.reading() as session:
            return get_campaign(session, name)

    def snapshots(self, campaign_id: str) -> SnapshotStore:
        """Return the store of a campaign's frozen code."""
        return SnapshotStore(self.settings.campaign_dir(campaign_id) / "snapshots")

    def report_path(self, campaign_id: str) -> Path:
        """Return the default path of a campaign's report."""
        return self.settings.campaign_dir(campaign_id) / "report.html"


def load_settings(database: str | None) -> Settings:
    """Return the machine's settings, with another database if one is named."""
    settings = get_settings()
    return settings if database is None else settings.model_copy(update={"database": database})


@contextmanager
def open_context(database: str | None) -> Iterator[CliContext]:
    """Open the named or the default database for one command.

    Raises:
        DatabaseError: it cannot be used.
    """
    settings = load_settings(database)
    found = open_database(settings.database_url)
    try:
        yield CliContext(settings, found)
    finally:
        found.close()
