"""Steering a campaign that lives: words, rest, directions, limits, and who is on the team."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aar.cli.error_handling import CommandGroup
from aar.cli.options import LATEST, CampaignId, CampaignOption, DatabaseOption

if TYPE_CHECKING:
    from aar.campaign.control.steering import CommandReceipt

AuthorOption = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Your name; your login by default.")]
ResearcherOption = Annotated[
    str | None, typer.Option("--researcher", "-r", metavar="NAME", help="Only this one, such as r2.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the record.")]
_Words = Annotated[str | None, typer.Argument(metavar="TEXT", help="Left out, standard input.", show_default=False)]
_Limit = Annotated[str | None, typer.Option(metavar="N", help="A number; `none` lifts it.")]
team = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, rich_markup_mode=None, help="Change who works on a campaign."
)


def message(
    researcher: Annotated[str, typer.Argument(metavar="RESEARCHER", help="Such as r2; `all` for everybody.")],
    text: _Words = None,
    campaign: CampaignOption = LATEST,
    name: AuthorOption = None,
    database: DatabaseOption = None,
) -> None:
    """Write to one researcher, or to all.

    It is read at the next turn, marked as a person's; a researcher that waits wakes up.
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

    It reads it at its next turn, marked as a person's.
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

    Researchers that rest because of a limit try again.
    """
    from aar.campaign.control.steering import change_limits
    from aar.cli.author_name import author_name
    from aar.cli.context import open_context

    given = {
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
    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.writing() as session:
            asked = change_limits(session, view.id, parse_limits(given), author_name(name))
    print(asked.told)


@team.command()
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
    """Add researchers; those of a campaign that runs begin at once."""
    from aar.campaign.researchers.add_researchers import add_researchers
    from aar.cli.author_name import author_name
    from aar.cli.context import open_context

    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.writing() as session:
            made, heard = add_researchers(session, view.id, count, author_name(name), direction=direction, model=model)
    for each in made:
        print(f"{each.name}  {each.model}  {each.direction_key}")
    print("they begin now" if heard else f"they begin with: aar resume {view.id}")


@team.command()
def remove(
    researcher: Annotated[str, typer.Argument(metavar="RESEARCHER", help="Such as r3, or one from outside.")],
    reason: Reason = "",
    campaign: CampaignOption = LATEST,
    name: AuthorOption = None,
    database: DatabaseOption = None,
) -> None:
    """Take a researcher off the team for good; what it wrote and handed in stays."""
    send_request(campaign, "remove", reason, researcher, name, database)


def send_request(
    campaign: str, command: str, argument: str, researcher: str | None, name: str | None, database: str | None
) -> CommandReceipt:
    """Ask, and say what became of it."""
    from aar.campaign.control.steering import send_command
    from aar.cli.author_name import author_name
    from aar.cli.context import open_context

    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.writing() as session:
            asked = send_command(session, view.id, command, argument, author_name(name), researcher or "")
    print(asked.told)
    return asked


def parse_limits(given: dict[str, str | None]) -> dict[str, Any]:
    """What was typed, as values of a spec: `none` lifts a limit, signs and grouping are left out."""
    return {
        limit: None if value.lower() == "none" else value.removeprefix("$").replace("_", "")
        for limit, value in given.items()
        if value is not None
    }


def _words(text: str | None) -> str:
    import sys

    return sys.stdin.read() if text is None else text
