"""``aar status``: the state of a campaign and its team."""

from __future__ import annotations

from aar.campaign.running_time import read_seconds_run
from aar.cli.campaign_options import LATEST, CampaignId
from aar.cli.context import open_context
from aar.cli.options import DatabaseOption, JsonFlag
from aar.cli.output.printing import make_console, print_json
from aar.cli.views.dashboard import render_dashboard
from aar.cli.views.overview import overview_json, read_overview


def status(campaign: CampaignId = LATEST, json: JsonFlag = False, database: DatabaseOption = None) -> None:
    """Show the state of a campaign and its team.

    The team, the best score against the human baseline, idea diversity, cost, limits and the newest posts.
    """
    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.reading() as session:
            found = read_overview(session, view.id)
            seconds = read_seconds_run(session, view.id)
    if json:
        print_json({**overview_json(found), "seconds_run": round(seconds, 3)})
        return

    hint = f"aar resume {view.id}" if view.resumable else ""
    make_console().print(render_dashboard(found, seconds=seconds, hint=f"Resume with: {hint}" if hint else ""))
