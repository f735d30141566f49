"""``aar sandbox``: the image, and the sandboxes that exist on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from aar.cli.failures import Commands
from aar.cli.options import DatabaseOption, JsonFlag

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Sandboxes: build the image, list, look into, and remove them.",
)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="As `aar sandbox list` shows it, such as k3v9qd-r1.")]


@app.command()
def build(
    gpu: Annotated[bool, typer.Option("--gpu", help="The image with PyTorch and transformers.")] = False,
    base: Annotated[str, typer.Option("--base", metavar="IMAGE", help="Base image; default python:3.11-slim.")] = "",
    json: JsonFlag = False,
) -> None:
    """Build the Docker image that sandboxes run from."""
    import asyncio

    from aar.cli.output import console, print_json
    from aar.cli.text import clean_line
    from aar.sandbox.images.build import build as make

    progress = console(stderr=True)

    def say(line: str) -> None:
        progress.print(clean_line(line), style="dim")

    built = asyncio.run(make("gpu" if gpu else "cpu", say, base=base))
    if json:
        print_json(built)
    else:
        size = f"{built.size_bytes / 1024**2:.0f} MB"
        print(f"built {built.tag} on {built.base}: {size}, {built.files_checked} files checked for hidden data")


@app.command("list")
def list_(json: JsonFlag = False, database: DatabaseOption = None) -> None:
    """List the sandboxes on this machine, and whose they are."""
    from aar.cli.output import print_json, print_table, table
    from aar.cli.sandboxes import found

    everything = found(database)
    if json:
        print_json(everything)
        return
    made = table("name", "backend", "campaign", "in use")
    for each in everything:
        made.add_row(each.name, each.backend, each.campaign_id, "yes" if each.in_use else "no")
    print_table(made, empty="There is no sandbox.")


@app.command()
def prune(
    everything: Annotated[bool, typer.Option("--all", help="Also those whose campaign the database lacks.")] = False,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Remove sandboxes that no running campaign uses.

    Workspaces stay, and so does every sandbox of a campaign whose controller is alive.
    """
    import asyncio

    from aar.cli.output import print_json
    from aar.cli.sandboxes import found, remove

    chosen = [each for each in found(database) if not each.in_use and (each.known or everything)]
    asyncio.run(remove(chosen))
    if json:
        print_json(chosen)
    else:
        for each in chosen:
            print(f"removed {each.name} ({each.backend})")
        print(f"{len(chosen)} removed")


@app.command()
def shell(name: _Name, database: DatabaseOption = None) -> None:
    """Open a shell in a running sandbox, to look around."""
    import os

    from aar.cli.sandboxes import one, shell_command

    command = shell_command(one(name, database))
    os.execvp(command[0], command)  # noqa: S606 - the person's own terminal becomes the shell


@app.command()
def stats(json: JsonFlag = False, database: DatabaseOption = None) -> None:
    """Show what each sandbox uses now: memory, processes, CPU time, workspace."""
    import asyncio

    from aar.cli.output import plain, print_json, print_table, table
    from aar.cli.sandboxes import found, usage
    from aar.cli.text import duration

    everything = found(database)
    used = asyncio.run(usage(everything))
    if json:
        print_json([{**plain(each), "stats": plain(used[each])} for each in everything])
        return
    numbers = ("memory", "processes", "CPU time", "workspace")
    made = table("name", "backend", *numbers, right=numbers)
    for each in everything:
        now = used[each]
        cells = ("–",) * 4
        if now is not None:
            cells = (
                f"{now.memory_bytes / 1024**2:.0f} MB",
                str(now.processes),
                duration(now.cpu_seconds),
                f"{now.workspace_bytes / 1024**2:.0f} MB",
            )
        made.add_row(each.name, each.backend, *cells)
    print_table(made, empty="There is no sandbox.")
