"""``aar pause``, ``stop``, ``message``, ``redirect``, ``limits`` and ``team``: steer a campaign."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from aar.campaign.steering import CommandReceipt, add_researchers, change_limits, send_command
from aar.cli.context import LATEST, CampaignId, CampaignOption, author_name, open_context
from aar.cli.options import DatabaseOption

AuthorOption = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Your name; your login by default.")]
ResearcherOption = Annotated[
    str | None, typer.Option("--researcher", "-r", metavar="NAME", help="Only this one, such as r2.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the record.")]
_Words = Annotated[
    str | None, typer.Argument(metavar="TEXT", help="Default: read from standard input.", show_default=False)
]
_Limit = Annotated[str | None, typer.Option(metavar="N", help="A number; `none` lifts it.")]


def pause(
    campaign: CampaignId = LATEST,
    researcher: ResearcherOption = None,
    reason: Reason = "",
    database: DatabaseOption = None,
) -> None:
    """Pause a campaign, or one researcher.

    The turns in progress are finished first; background jobs end. `aar resume` goes on.
    """
    _send(campaign, "pause", reason, researcher, database)


def stop(
    campaign: CampaignId = LATEST,
    researcher: ResearcherOption = None,
    reason: Reason = "",
    database: DatabaseOption = None,
) -> None:
    """End a campaign, or one researcher, for good.

    The turns in progress are finished first, and submissions in the queue are still scored. Results stay.
    """
    _send(campaign, "stop", reason, researcher, database)


def message(
    researcher: Annotated[str, typer.Argument(metavar="RESEARCHER", help="Such as r2; `all` for all researchers.")],
    text: _Words = None,
    campaign: CampaignOption = LATEST,
    name: AuthorOption = None,
    database: DatabaseOption = None,
) -> None:
    """Send a message to one researcher, or to all.

    It is read at the next turn, marked as a person's message; a waiting researcher wakes up.
    """
    send_request(campaign, "message", _words(text), researcher, name, database)


def redirect(
    researcher: Annotated[str, typer.Argument(metavar="RESEARCHER", help="Such as r2.")],
    text: _Words = None,
    campaign: CampaignOption = LATEST,
    name: AuthorOption = None,
    database: DatabaseOption = None,
) -> None:
    """Give a researcher a new direction.

    The researcher reads it at its next turn, marked as a person's.
    """
    send_request(campaign, "redirect", _words(text), researcher, name, database)


def limits(
    campaign: CampaignId = LATEST,
    usd: _Limit = None,
    tokens: _Limit = None,
    hours: _Limit = None,
    submissions: _Limit = None,
    scoring_runs: _Limit = None,
    usd_per_agent_hour: _Limit = None,
    researcher_usd: _Limit = None,
    researcher_tokens: _Limit = None,
    researcher_turns: _Limit = None,
    researcher_submissions: _Limit = None,
    name: AuthorOption = None,
    database: DatabaseOption = None,
) -> None:
    """Change a campaign's limits, also while it runs.

    Researchers that a limit stopped try again.
    """
    changes = {
        "usd": usd,
        "tokens": tokens,
        "hours": hours,
        "submissions": submissions,
        "scoring_runs": scoring_runs,
        "usd_per_agent_hour": usd_per_agent_hour,
        "researcher.usd": researcher_usd,
        "researcher.tokens": researcher_tokens,
        "researcher.turns": researcher_turns,
        "researcher.submissions": researcher_submissions,
    }
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.writing() as session:
            receipt = change_limits(session, view.id, parse_limits(changes), author_name(name))
    print(receipt.text)


def send_request(
    campaign: str, command: str, argument: str, researcher: str | None, name: str | None, database: str | None
) -> CommandReceipt:
    """Send a command to a campaign's controller, and print the receipt."""
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.writing() as session:
            receipt = send_command(session, view.id, command, argument, author_name(name), researcher or "")
    print(receipt.text)
    return receipt


def parse_limits(options: dict[str, str | None]) -> dict[str, Any]:
    """Return limits as values of a spec; `none` lifts a limit.

    Leaves a dollar sign and underscores out.
    """
    return {
        limit: None if value.lower() == "none" else value.removeprefix("$").replace("_", "")
        for limit, value in options.items()
        if value is not None
    }


def _words(text: str | None) -> str:
    return sys.stdin.read() if text is None else text


def _send(campaign: str, command: str, reason: str, researcher: str | None, database: str | None) -> None:
    receipt = send_request(campaign, command, reason, researcher, None, database)
    if receipt.delivered:
        if command == "stop" and researcher is None:
            print("open submissions are scored and the best ones confirmed first; aar pause ends it at once")
        print("follow it with: aar events --follow")


def add(
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=500, help="How many.")] = 1,
    direction: Annotated[
        str | None, typer.Option(metavar="KEY", help="Direction of all; else those that the fewest have.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model id; else the team's.")] = None,
    campaign: CampaignOption = LATEST,
    name: AuthorOption = None,
    database: DatabaseOption = None,
) -> None:
    """Add researchers; in a running campaign they begin at once."""
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.writing() as session:
            researchers, running = add_researchers(
                session, view.id, count, author_name(name), direction=direction, model=model
            )
    for each in researchers:
        print(f"{each.name}  {each.model}  {each.direction_key}")
    print("they begin now" if running else f"they begin with: aar resume {view.id}")


def remove(
    researcher: Annotated[str, typer.Argument(metavar="RESEARCHER", help="Such as r3, or one from outside.")],
    reason: Reason = "",
    campaign: CampaignOption = LATEST,
    name: AuthorOption = None,
    database: DatabaseOption = None,
) -> None:
    """Remove a researcher from the team for good; its posts and submissions stay."""
    send_request(campaign, "remove", reason, researcher, name, database)
