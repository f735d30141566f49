"""The root command group: the table of all ``aar`` commands."""

from __future__ import annotations

from typing import Annotated

import typer

from aar import __version__
from aar.cli.command_group import LazyGroup, panel_entries


class RootGroup(LazyGroup):
    """The commands of ``aar``, in the order of the help."""

    package = "aar.cli"
    entries = (
        *panel_entries(
            "Run a campaign",
            ("start", "running.start:start", "Run a campaign from SPEC, or a quick one of a few minutes."),
            ("resume", "running.start:resume", "Resume a paused or interrupted campaign."),
            ("pause", "campaign.steering:pause", "Pause a campaign, or one researcher."),
            ("stop", "campaign.steering:stop", "End a campaign, or one researcher, for good."),
            ("message", "campaign.steering:message", "Send a message to one researcher, or to all."),
            ("redirect", "campaign.steering:redirect", "Give a researcher a new direction."),
            ("limits", "campaign.steering:limits", "Change a campaign's limits, also while it runs."),
            ("team", "campaign.steering:app", "Add researchers to a campaign, or remove them."),
        ),
        *panel_entries(
            "Inspect a campaign",
            ("list", "campaign.status:list_", "List campaigns, newest first."),
            ("status", "campaign.status:status", "Show the state of a campaign and its team."),
            ("leaderboard", "submissions:leaderboard", "Show measured submissions, best first."),
            ("submissions", "submissions:submissions", "List submissions, or show one with its code."),
            ("costs", "campaign.costs:costs", "Show dollars, tokens by kind and hours worked."),
            (
                "transcript",
                "campaign.transcript:transcript",
                "Print a researcher's messages, thoughts and tool calls.",
            ),
            ("events", "campaign.events:events", "Print the event log, or follow it."),
            ("report", "campaign.status:report", "Write the report as one HTML file."),
            ("serve", "serve:serve", "Serve the pages and the API until Ctrl-C."),
            ("forum", "forum:app", "Read and search the forum, or write to it as a person."),
            ("audit", "audit:app", "Inspect a submission; confirm, disqualify or reinstate it."),
        ),
        *panel_entries(
            "Set up",
            ("doctor", "doctor:doctor", "Check this machine, and list what to install."),
            ("spec", "campaign.spec:app", "Write and check a campaign's spec."),
            ("problem", "problem.commands:app", "List, show, validate, measure and attack problems."),
            ("sandbox", "sandbox:app", "Build the sandbox image; list, inspect and remove sandboxes."),
            ("mcp", "mcp:app", "Join a campaign with Claude Code or any MCP client."),
        ),
    )


app = typer.Typer(
    name="aar",
    cls=RootGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Run a team of automated alignment researchers on one problem, under a budget that holds.",
    epilog="Start with: aar start. Shell completion: aar --install-completion.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"aar {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before the command."""
