"""``aar report``: write a campaign's report as an HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aar.cli.context import LATEST, CampaignId, open_context
from aar.cli.options import DatabaseOption, JsonFlag
from aar.cli.output.printing import print_json
from aar.report.html_report import write_report


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
    with open_context(database) as context:
        view = context.campaign(campaign)
        path = output or context.settings.report_path(view.id)
        write_report(context.database, view.id, path, snapshots=context.snapshots(view.id))
    if json:
        print_json({"campaign_id": view.id, "path": path.absolute()})
    else:
        print(path.absolute())
