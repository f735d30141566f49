"""Opening the database that a command works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aar.campaign.views import CampaignView
    from aar.settings import Settings
    from aar.snapshots.store import SnapshotStore
    from aar.store.database import Database


@dataclass(frozen=True, slots=True)
class CliContext:
    """The settings in force and the open database."""

    settings: Settings
    database: Database

    def campaign(self, name: str) -> CampaignView:
        """The campaign of an id, an id's beginning, or the latest. Raises NotFound."""
        from aar.campaign.views import get_campaign

        with self.database.reading() as session:
            return get_campaign(session, name)

    def snapshots(self, campaign_id: str) -> SnapshotStore:
        """Where a campaign's frozen code lies."""
        from aar.snapshots.store import SnapshotStore

        return SnapshotStore(self.settings.campaign_dir(campaign_id) / "snapshots")

    def report_path(self, campaign_id: str) -> Path:
        """Where a campaign's report is written unless said otherwise."""
        return self.settings.campaign_dir(campaign_id) / "report.html"


def load_settings(database: str | None) -> Settings:
    """The machine's settings, with another database if one is named."""
    from aar.settings import get_settings

    settings = get_settings()
    return settings if database is None else settings.model_copy(update={"database": database})


@contextmanager
def open_context(database: str | None) -> Iterator[CliContext]:
    """Open the database named, or the default one, for one command.

    Raises:
        DatabaseError: it cannot be used.
    """
    from aar.store import open_database

    settings = load_settings(database)
    found = open_database(settings.database_url)
    try:
        yield CliContext(settings, found)
    finally:
        found.close()
