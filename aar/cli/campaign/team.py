"""``aar team``: add researchers to a campaign, or remove them."""

from __future__ import annotations

from typing import Annotated

import typer

from aar.campaign.steering import add_researchers
from aar.cli.author_name import author_name
from aar.cli.campaign.steering import AuthorOption, Reason, send_request
from aar.cli.campaign_options import LATEST, CampaignOption
from aar.cli.context import open_context
from aar.cli.error_handling import CommandGroup
from aar.cli.options import DatabaseOption

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Add researchers to a campaign, or remove them.",
)


@app.command()
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
    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.writing() as session:
            made, heard = add_researchers(session, view.id, count, author_name(name), direction=direction, model=model)
    for each in made:
        print(f"{each.name}  {each.model}  {each.direction_key}")
    print("they begin now" if heard else f"they begin with: aar resume {view.id}")


@app.command()
def remove(
    researcher: Annotated[str, typer.Argument(metavar="RESEARCHER", help="Such as r3, or one from outside.")],
    reason: Reason = "",
    campaign: CampaignOption = LATEST,
    name: AuthorOption = None,
    database: DatabaseOption = None,
) -> None:
    """Remove a researcher from the team for good; its posts and submissions stay."""
    send_request(campaign, "remove", reason, researcher, name, database)
