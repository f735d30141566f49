"""``aar list``, ``status``, ``pause`` and ``stop``."""

from __future__ import annotations

from typing import Annotated

import typer

from aar.cli.campaign.steering import Reason, ResearcherOption, send_request
from aar.cli.options import LATEST, MOST_ROWS, CampaignId, DatabaseOption, JsonFlag


def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST_ROWS, help="Rows to show.")] = 30,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """List campaigns, newest first."""
    from aar.campaign.views import list_campaigns
    from aar.cli.context import open_context
    from aar.cli.output.formatting import clean_line, format_datetime, shorten
    from aar.cli.output.printing import make_table, print_json, print_table, to_json_value

    with open_context(database) as workplace, workplace.database.reading() as session:
        views = list_campaigns(session, limit=limit)
    if json:
        print_json([{key: value for key, value in to_json_value(view).items() if key != "spec"} for view in views])
        return
    made = make_table("id", "name", "problem", "state", "created", "why")
    for view in views:
        made.add_row(
            view.id,
            clean_line(view.name),
            clean_line(view.problem),
            view.state_text(format_datetime),
            format_datetime(view.created_at),
            shorten(view.cause, 60),
        )
    print_table(made, empty="There is no campaign yet. Start one with: aar start")


def status(campaign: CampaignId = LATEST, json: JsonFlag = False, database: DatabaseOption = None) -> None:
    """Show how a campaign and its team stand.

    The team, the best score against the human baseline, idea diversity, cost, limits and the newest posts.
    """
    from aar.campaign.run_timer import read_seconds_run
    from aar.cli.context import open_context
    from aar.cli.output.printing import make_console, print_json
    from aar.cli.views.overview import overview_json, read_overview

    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.reading() as session:
            found = read_overview(session, view.id)
            seconds = read_seconds_run(session, view.id)
    if json:
        print_json({**overview_json(found), "seconds_run": round(seconds, 3)})
        return
    from aar.cli.views.dashboard import render_dashboard

    hint = f"aar resume {view.id}" if view.resumable else ""
    make_console().print(render_dashboard(found, seconds=seconds, hint=f"Go on with: {hint}" if hint else ""))


def pause(
    campaign: CampaignId = LATEST,
    researcher: ResearcherOption = None,
    reason: Reason = "",
    database: DatabaseOption = None,
) -> None:
    """Pause a campaign, or one researcher.

    The turns in progress are finished first; background jobs end. `aar resume` goes on.
    """
    _ask(campaign, "pause", reason, researcher, database)


def stop(
    campaign: CampaignId = LATEST,
    researcher: ResearcherOption = None,
    reason: Reason = "",
    database: DatabaseOption = None,
) -> None:
    """End a campaign, or one researcher, for good.

    The turns in progress are finished first, and what was handed in is still scored. Results stay.
    """
    _ask(campaign, "stop", reason, researcher, database)


def _ask(campaign: str, command: str, reason: str, researcher: str | None, database: str | None) -> None:
    asked = send_request(campaign, command, reason, researcher, None, database)
    if asked.heard:
        print("see it happen with: aar events --follow")
