"""The root command group: the table of all ``aar`` commands."""

from __future__ import annotations

from typing import Annotated

import typer

from aar import __version__
from aar.cli.command_group import make_lazy_group, panel_entries

_TEAM = panel_entries(
    "Commands",
    ("add", "campaign.steering:add", "Add researchers; in a running campaign they begin at once."),
    (
        "remove",
        "campaign.steering:remove",
        "Remove a researcher from the team for good; its posts and submissions stay.",
    ),
)
_AUDIT = panel_entries(
    "Commands",
    ("show", "audit:show", "Show a submission's scores by phase, audits with evidence, and changes of status."),
    ("confirm", "audit:confirm", "Request a confirmation: new seeds, the sealed splits, all audits."),
    (
        "disqualify",
        "audit:disqualify",
        "Take a submission off the leaderboard; its author reads the rule and the reason.",
    ),
    ("reinstate", "audit:reinstate", "Put a disqualified submission back on the leaderboard."),
)
_FORUM = panel_entries(
    "Commands",
    ("list", "forum:list_", "List posts, newest first."),
    ("search", "forum:search", "Search posts and comments, best match first."),
    ("show", "forum:show", "Show a post with its comments, or with --history their former versions."),
    ("post", "forum:post", "Write a post; every researcher reads it, marked as written by a person."),
    ("comment", "forum:comment", "Comment on a post; its author reads it, marked as written by a person."),
    ("edit", "forum:edit", "Edit a post or comment; its former version stays visible."),
    ("retract", "forum:retract", "Retract a post or comment; it stays readable, marked, and leaves search results."),
    ("pin", "forum:pin", "Pin a post above all others, for people and researchers."),
    ("claims", "forum:claims", "List claimed topics: author, end and topic of each claim."),
    ("release", "forum:release", "End a researcher's claim."),
)
_SPEC = panel_entries(
    "Commands",
    ("validate", "campaign.spec:validate", "Check a spec without starting anything."),
    ("schema", "campaign.spec:schema", "Print the JSON schema of a spec, for editors."),
    ("example", "campaign.spec:example", "Print a commented spec with every field: aar spec example > campaign.yaml."),
)
_PROBLEM = panel_entries(
    "Commands",
    ("list", "problem.commands:list_", "List the installed problems."),
    ("show", "problem.commands:show", "Show a problem: metric, domains, baselines, limits and brief."),
    ("validate", "problem.scoring_runs:validate", "Check that a problem is sound."),
    ("baselines", "problem.scoring_runs:baselines", "Measure the baselines in the clean room."),
    ("attack", "problem.scoring_runs:attack", "Run all known attacks on a problem's scores."),
    ("fetch", "problem.commands:fetch", "Check a problem's data, and build it if needed."),
)
_SANDBOX = panel_entries(
    "Commands",
    ("build", "sandbox:build", "Build the Docker image that sandboxes run from."),
    ("list", "sandbox:list_", "List the sandboxes on this machine, with their campaigns."),
    ("stats", "sandbox:stats", "Show the memory, processes, CPU time and workspace size of each sandbox."),
    ("prune", "sandbox:prune", "Remove sandboxes that no running campaign uses, and leftovers of scoring runs."),
    ("shell", "sandbox:shell", "Open a shell in a running sandbox."),
)
_COMMANDS = (
    *panel_entries(
        "Run a campaign",
        ("start", "running.start:start", "Run a campaign from SPEC, or a quick one of a few minutes."),
        ("resume", "running.start:resume", "Resume a paused or interrupted campaign."),
        ("pause", "campaign.steering:pause", "Pause a campaign, or one researcher."),
        ("stop", "campaign.steering:stop", "End a campaign, or one researcher, for good."),
        ("message", "campaign.steering:message", "Send a message to one researcher, or to all."),
        ("redirect", "campaign.steering:redirect", "Give a researcher a new direction."),
        ("limits", "campaign.steering:limits", "Change a campaign's limits, also while it runs."),
        ("team", _TEAM, "Add researchers to a campaign, or remove them."),
    ),
    *panel_entries(
        "Inspect a campaign",
        ("list", "campaign.campaign_list:list_", "List campaigns, newest first."),
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
        ("report", "campaign.report:report", "Write the report as one HTML file."),
        ("serve", "serve:serve", "Serve the pages and the API until Ctrl-C."),
        ("forum", _FORUM, "Read and search the forum, or write to it as a person."),
        ("audit", _AUDIT, "Inspect a submission; confirm, disqualify or reinstate it."),
    ),
    *panel_entries(
        "Set up",
        ("doctor", "doctor:doctor", "Check this machine, and list what to install."),
        ("spec", _SPEC, "Write and check a campaign's spec."),
        ("problem", _PROBLEM, "List, show, validate, measure and attack problems."),
        ("sandbox", _SANDBOX, "Build the sandbox image; list, inspect and remove sandboxes."),
        ("mcp", "mcp:app", "Join a campaign with Claude Code or any MCP client."),
    ),
)


app = make_lazy_group(
    _COMMANDS,
    name="aar",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Run a team of automated alignment researchers on one problem, under a budget that holds.",
    epilog="Start with: aar start. Shell completion: aar --install-completion.",
)


def _version(print_version: bool) -> None:
    if print_version:
        print(f"aar {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before the command."""
