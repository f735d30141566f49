"""``aar list``, ``aar status`` and ``aar report``: campaigns, the state of one, and its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from aar.budget.totals import Totals
from aar.campaign.running_time import read_running_time
from aar.campaign.views import list_campaigns
from aar.cli.campaign.dashboard import render_dashboard
from aar.cli.context import LATEST, CampaignId, open_context
from aar.cli.options import MOST_ROWS, DatabaseOption, JsonFlag
from aar.cli.output.printing import make_console, make_table, print_json, print_table, to_json_value
from aar.readmodels.campaign_overview import CampaignOverview, read_overview
from aar.readmodels.formatting import format_datetime, format_hourly_rate
from aar.report.html_report import write_report
from aar.text import clean_line, shorten


def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST_ROWS, help="Rows to show.")] = 30,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """List campaigns, newest first."""
    with open_context(database) as workplace, workplace.database.reading() as session:
        views = list_campaigns(session, limit=limit)
    if json:
        print_json([{key: value for key, value in to_json_value(view).items() if key != "spec"} for view in views])
        return
    table = make_table("id", "name", "problem", "state", "created", "why")
    for view in views:
        table.add_row(
            view.id,
            clean_line(view.name),
            clean_line(view.problem),
            view.state_text(format_datetime),
            format_datetime(view.created_at),
            shorten(view.cause, 60),
        )
    print_table(table, empty="There is no campaign yet. Start one with: aar start")


def status(campaign: CampaignId = LATEST, json: JsonFlag = False, database: DatabaseOption = None) -> None:
    """Show the state of a campaign and its team.

    The team, the best score against the human baseline, idea diversity, cost, limits and the newest posts.
    """
    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        with workplace.database.reading() as session:
            overview = read_overview(session, view.id)
            seconds = read_running_time(session, view.id).seconds
    if json:
        print_json({**_overview_json(overview), "seconds_run": round(seconds, 3)})
        return

    hint = f"aar resume {view.id}" if view.resumable else ""
    make_console().print(render_dashboard(overview, seconds=seconds, hint=f"Resume with: {hint}" if hint else ""))


def report(
    campaign: CampaignId = LATEST,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.", dir_okay=False)
    ] = None,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Write the report as one HTML file.

    It opens from disk and needs nothing else. Prints where it is.
    """
    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        path = output or workplace.settings.report_path(view.id)
        write_report(workplace.database, view.id, path, snapshots=workplace.snapshots(view.id))
    if json:
        print_json({"campaign_id": view.id, "path": path.absolute()})
    else:
        print(path.absolute())


def _overview_json(overview: CampaignOverview) -> dict[str, Any]:
    """Return the documented JSON of ``aar status --json``."""
    campaign = to_json_value(overview.campaign)
    del campaign["spec"]  # the seed and a database's password stand there
    return {
        **campaign,
        "limits": overview.limits,
        "offline": overview.offline,
        "metric": to_json_value(overview.metric),
        "best": to_json_value(overview.best.submission) if overview.best else None,
        "measured": overview.measured,
        "diversity_bits": round(overview.bits, 4),
        "vendi": overview.vendi,
        "spent": _spent(overview.spent),
        "researchers": [
            {
                **to_json_value(row.researcher),
                "best": to_json_value(row.best.submission) if row.best else None,
                "spent": _spent(row.spent),
            }
            for row in overview.rows
        ],
        "newest_posts": to_json_value(overview.posts),
        "alerts": to_json_value(overview.alerts),
        "queue": {
            "scoring": list(overview.queue.scoring),
            "waiting": [
                {"number": number, "expected_wait_seconds": overview.queue.expected_wait(number)}
                for number in overview.queue.waiting
            ],
        },
    }


def _spent(each: Totals) -> dict[str, Any]:
    return {
        "usd": to_json_value(each.usd),
        "reserved_usd": to_json_value(each.reserved_usd),
        "total_tokens": each.total_tokens,
        "calls": each.calls,
        "agent_seconds": each.agent_seconds,
        "core_seconds": each.core_seconds,
        "usd_per_agent_hour": format_hourly_rate(each.usd_per_agent_hour),
    }
