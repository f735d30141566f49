"""The owners of this machine's sandboxes, from the inventory and the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aar.campaign.controller import orphan_cleanup
from aar.cli.context import open_context
from aar.sandbox.inventory import SweepResult
from aar.sandbox.protocol import SandboxRow


def campaigns_alive(database: str | None) -> Mapping[str, bool]:
    """Return every campaign in the database, and whether a controller runs it.

    Raises DatabaseError.
    """
    with open_context(database) as workplace, workplace.database.reading() as session:
        return orphan_cleanup.controlled_campaigns(session)


async def prune_sandboxes(database: str | None, *, unknown_too: bool) -> SweepResult:
    """Remove the sandboxes that no running controller uses.

    Args:
        database: the database of the campaigns; None for the default one.
        unknown_too: also remove those of campaigns that are not in this database; they may be in another one.
    """
    with open_context(database) as workplace:
        return await orphan_cleanup.prune_sandboxes(workplace.database, workplace.settings, unknown_too=unknown_too)


def sort_by_name(rows: Sequence[SandboxRow]) -> list[SandboxRow]:
    """Return rows sorted by name, with numbers by their value."""
    return sorted(rows, key=lambda row: [(len(part), part) for part in row.name.split("-")])
