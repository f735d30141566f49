"""``aar sandbox``: build the image; list, inspect and remove this machine's sandboxes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from aar.campaign.controller import orphan_cleanup
from aar.cli.context import open_context
from aar.cli.options import DatabaseOption, JsonFlag
from aar.cli.output.printing import make_console, make_table, print_json, print_table, to_json_value
from aar.readmodels.formatting import format_duration
from aar.sandbox.images.build import build_image
from aar.sandbox.inventory import SweepResult, list_sandboxes, shell_command
from aar.sandbox.protocol import SandboxRow
from aar.text import clean_line

_Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from `aar sandbox list`, such as k3v9qd-r1.")]


def build(
    gpu: Annotated[bool, typer.Option("--gpu", help="The image with PyTorch and transformers.")] = False,
    base: Annotated[str, typer.Option("--base", metavar="IMAGE", help="Base image; default python:3.11-slim.")] = "",
    json: JsonFlag = False,
) -> None:
    """Build the Docker image that sandboxes run from."""
    progress = make_console(stderr=True)

    def print_progress(line: str) -> None:
        progress.print(clean_line(line), style="dim")

    built = asyncio.run(build_image("gpu" if gpu else "cpu", print_progress, base=base))
    if json:
        print_json(built)
    else:
        size = f"{built.size_bytes / 1024**2:.0f} MB"
        print(f"built {built.tag} on {built.base}: {size}, {built.files_checked} files checked for hidden data")


def list_(json: JsonFlag = False, database: DatabaseOption = None) -> None:
    """List the sandboxes on this machine, with their campaigns."""
    campaigns = campaigns_alive(database)
    rows = sort_by_name(asyncio.run(list_sandboxes()))
    if json:
        print_json([{**to_json_value(row), "in_use": campaigns.get(row.campaign_id, False)} for row in rows])
        return
    table = make_table("name", "backend", "campaign", "state", "age", "in use", right=("age",))
    for row in rows:
        use = {True: "yes", False: "no", None: "not in this database"}[campaigns.get(row.campaign_id)]
        state = "running" if row.running else "ended"
        table.add_row(row.name, row.backend, row.campaign_id, state, format_duration(row.age_seconds), use)
    print_table(table, empty="There is no sandbox.")


def stats(json: JsonFlag = False) -> None:
    """Show the memory, processes, CPU time and workspace size of each sandbox."""
    rows = sort_by_name(asyncio.run(list_sandboxes()))
    if json:
        print_json(rows)
        return
    numbers = ("memory", "processes", "CPU time", "workspace")
    table = make_table("name", "backend", *numbers, right=numbers)
    for row in rows:
        if row.stats is None:
            table.add_row(row.name, row.backend, *("–" for _ in numbers))
            continue
        room = row.stats.workspace_bytes
        table.add_row(
            row.name,
            row.backend,
            f"{row.stats.memory_bytes / 1024**2:.0f} MB",
            str(row.stats.processes),
            format_duration(row.stats.cpu_seconds),
            "–" if room < 0 else f"{room / 1024**2:.0f} MB",
        )
    print_table(table, empty="There is no sandbox.")


def prune(
    everything: Annotated[
        bool, typer.Option("--all", help="Also sandboxes of campaigns that are not in the database.")
    ] = False,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Remove sandboxes that no running campaign uses, and leftovers of scoring runs.

    Workspaces of researchers stay, and so does every sandbox of a campaign whose controller is alive.
    """
    swept = asyncio.run(prune_sandboxes(database, unknown_too=everything))
    if json:
        print_json({"removed": swept.removed, "left": swept.left})
    else:
        for name in swept.removed:
            print(f"removed {name}")
        for name, why in swept.left.items():
            print(clean_line(f"left {name}: {why}"))
        print(f"{len(swept.removed)} removed" + (f", {len(swept.left)} left" if swept.left else ""))
    if swept.left:
        raise typer.Exit(1)


def shell(name: _Name) -> None:
    """Open a shell in a running sandbox."""
    command = asyncio.run(shell_command(name))
    os.execvp(command[0], command)  # noqa: S606 - the person's own terminal becomes the shell


def campaigns_alive(database: str | None) -> Mapping[str, bool]:
    """Return every campaign in the database, and whether a controller runs it.

    Raises DatabaseError.
    """
    with open_context(database) as context, context.database.reading() as session:
        return orphan_cleanup.controlled_campaigns(session)


async def prune_sandboxes(database: str | None, *, unknown_too: bool) -> SweepResult:
    """Remove the sandboxes that no running controller uses.

    Args:
        database: the database of the campaigns; None for the default one.
        unknown_too: also remove those of campaigns that are not in this database; they may be in another one.
    """
    with open_context(database) as context:
        return await orphan_cleanup.prune_sandboxes(context.database, context.settings, unknown_too=unknown_too)


def sort_by_name(rows: Sequence[SandboxRow]) -> list[SandboxRow]:
    """Return rows sorted by name, with numbers by their value."""
    return sorted(rows, key=lambda row: [(len(part), part) for part in row.name.split("-")])
