"""The commands of ``aar`` by name."""

from __future__ import annotations

from typing import Annotated

import typer

from aar.cli import doctor, mcp, sandbox, serve
from aar.cli.campaign import costs, events, report, spec, status, steering, transcript
from aar.cli.error_handling import CommandGroup
from aar.cli.forum import posts
from aar.cli.problem import commands
from aar.cli.running import start
from aar.cli.submissions import audit, leaderboard, listing

_RUN, _READ, _PARTS = "Run a campaign", "Look at a campaign", "Parts"

app = typer.Typer(
    name="aar",
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Run a team of automated alignment researchers on one problem, under a budget that holds.",
    epilog="Start with: aar start. Shell completion: aar --install-completion.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from aar import __version__

        print(f"aar {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before the command."""


for name, function, panel in (
    ("start", start.start, _RUN),
    ("resume", start.resume, _RUN),
    ("pause", status.pause, _RUN),
    ("stop", status.stop, _RUN),
    ("message", steering.message, _RUN),
    ("redirect", steering.redirect, _RUN),
    ("limits", steering.limits, _RUN),
    ("list", status.list_, _READ),
    ("status", status.status, _READ),
    ("leaderboard", leaderboard.leaderboard, _READ),
    ("submissions", listing.submissions, _READ),
    ("costs", costs.costs, _READ),
    ("transcript", transcript.transcript, _READ),
    ("events", events.events, _READ),
    ("report", report.report, _READ),
    ("serve", serve.serve, _READ),
    ("doctor", doctor.doctor, _PARTS),
):
    app.command(name, rich_help_panel=panel)(function)
app.add_typer(steering.team, name="team", rich_help_panel=_RUN)
app.add_typer(posts.app, name="forum", rich_help_panel=_READ)
app.add_typer(audit.app, name="audit", rich_help_panel=_READ)
for group, group_name in ((spec.app, "spec"), (commands.app, "problem"), (sandbox.app, "sandbox"), (mcp.app, "mcp")):
    app.add_typer(group, name=group_name, rich_help_panel=_PARTS)
