"""What a command works with: the settings, the open database, the campaign and the person."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from aar.auth.sessions import LOGIN_LINK_SECONDS
from aar.campaign.views import CampaignView, get_campaign, list_campaigns
from aar.errors import AarError, UsageError
from aar.settings import Settings, load_settings
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.database import Database
from aar.text import PERSON_NAME_LENGTH, is_person_name


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


@contextmanager
def open_context(database: str | None) -> Iterator[CliContext]:
    """Open the named or the default database for one command.

    Raises:
        DatabaseError: it cannot be used.
    """
    settings = load_settings(database)
    db = open_database(settings.database_url)
    try:
        yield CliContext(settings, db)
    finally:
        db.close()


LATEST = "latest"


def _campaign_ids(incomplete: str) -> list[tuple[str, str]]:
    """Return existing campaign ids with their names, for shell completion."""
    try:
        with open_context(None) as context, context.database.reading() as session:
            views = list_campaigns(session, limit=30)
    except AarError:
        return []
    return [
        (view.id, f"{'no controller' if view.controller == 'lost' else view.state}, {view.name}")
        for view in views
        if view.id.startswith(incomplete)
    ]


CampaignId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="Campaign: an id, the beginning of one, or `latest`.",
        show_default=False,
        autocompletion=_campaign_ids,
    ),
]
CampaignOption = Annotated[
    str,
    typer.Option(
        "--campaign",
        "-c",
        metavar="ID",
        help="Campaign: an id, the beginning of one, or `latest`.",
        show_default=False,
        autocompletion=_campaign_ids,
    ),
]


def author_name(name: str | None = None) -> str:
    """Return a person's author name, such as ``human:ana``; their login by default.

    Raises UsageError.
    """
    if name is None:
        try:
            name = getpass.getuser()
        except (OSError, KeyError):
            name = "operator"
        name = re.sub(r"[^\w .-]+", "-", name)[:PERSON_NAME_LENGTH] or "operator"
    if not is_person_name(name):
        raise UsageError(
            f"author name is not valid: got {name!r}, expected 1 to {PERSON_NAME_LENGTH} characters",
            "Use letters, digits, spaces, dots or dashes",
        )
    return f"human:{name.strip()}"


def login_line(address: str, path: str) -> str:
    """Return the printed line for an address that logs this person in."""
    return f"{address}{path}  logs you in, once, within {LOGIN_LINK_SECONDS // 60} minutes"


def login_name() -> str:
    """Return this person's name for such a login."""
    return author_name().removeprefix("human:")
