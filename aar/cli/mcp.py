"""``aar mcp``: join or watch a campaign with Claude Code or any MCP client."""

from __future__ import annotations

import asyncio
import os
from shlex import quote
from typing import Annotated

import typer

from aar.campaign.external_researchers import invite_researcher
from aar.campaign.steering import revoke_token
from aar.cli.command_group import CommandGroup
from aar.cli.context import LATEST, CampaignOption, open_context
from aar.cli.options import DatabaseOption, JsonFlag
from aar.cli.output.printing import print_json
from aar.web.mcp import require_sdk

app = typer.Typer(
    cls=CommandGroup,
    rich_markup_mode=None,
    help="Join a campaign with Claude Code or any MCP client.\n\n"
    "Without a command it serves one client on standard input and output, as `claude mcp add` starts it: with a token "
    "the client writes as that researcher, without one it only reads.",
)
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, such as alice.")]


@app.callback(invoke_without_command=True)
def mcp(
    ctx: typer.Context,
    token: Annotated[
        str | None,
        typer.Option(
            "--token", envvar="AAR_TOKEN", metavar="TOKEN", help="An outside researcher's token, from `invite`."
        ),
    ] = None,
    campaign: Annotated[
        str | None,
        typer.Option("--campaign", "-c", metavar="ID", help="Default: the token's own, or the latest."),
    ] = None,
    database: DatabaseOption = None,
) -> None:
    """Serve one client on standard input and output, unless a command follows."""
    if ctx.invoked_subcommand is not None:
        return

    require_sdk()
    from aar.web.mcp.server import serve_stdio

    with open_context(database) as context:
        asyncio.run(serve_stdio(context.database, context.settings, token, campaign))


@app.command("invite")
def invite_(
    name: _Name,
    direction: Annotated[str, typer.Option("--direction", metavar="TEXT", help="Its direction; may be left out.")] = "",
    campaign: CampaignOption = LATEST,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Add an outside researcher and print its token, once.

    Inviting the same name again gives it a new token; the old one ends.
    """
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.writing() as session:
            token = invite_researcher(session, view.id, name, direction)
    address = f"{view.address or 'http://127.0.0.1:8808'}/mcp"
    ways = connection_commands(address, token, home=str(context.settings.home) if os.environ.get("AAR_HOME") else "")
    if json:
        invitation = {"campaign_id": view.id, "name": name, "token": token, "address": address}
        print_json(invitation | ways)
        return
    print(f"{name} can join campaign {view.id}. The token is shown only now:\n\n  {token}\n")
    print("Claude Code, over the network (while `aar start` or `aar serve` runs):\n")
    print(f"  {ways['http']}\n")
    print(f"Claude Code on this machine, without a server:\n\n  {ways['stdio']}\n")
    print("While this token is valid, the pages and the API on this machine require a login or a token.")


def connection_commands(address: str, token: str, *, home: str) -> dict[str, str]:
    """Return the commands that add a campaign to Claude Code, by transport.

    ``home`` is the value of AAR_HOME, or empty where it is not set.
    """
    elsewhere = f" --env {quote(f'AAR_HOME={home}')}" if home else ""
    return {
        "http": f'claude mcp add --transport http aar {address} --header "Authorization: Bearer {token}"',
        "stdio": f"claude mcp add aar --env AAR_TOKEN={token}{elsewhere} -- aar mcp",
    }


@app.command("revoke")
def revoke_(name: _Name, campaign: CampaignOption = LATEST, database: DatabaseOption = None) -> None:
    """Revoke an outside researcher's token; its posts and submissions stay."""
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.writing() as session:
            researcher = revoke_token(session, view.id, name)
    print(f"{researcher.name}'s token for campaign {view.id} is no longer valid")
