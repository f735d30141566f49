"""``aar list``: the campaigns of a database."""

from __future__ import annotations

from typing import Annotated

import typer

from aar.campaign.views import list_campaigns
from aar.cli.context import open_context
from aar.cli.options import MOST_ROWS, DatabaseOption, JsonFlag
from aar.cli.output.printing import make_table, print_json, print_table, to_json_value
from aar.readmodels.formatting import format_datetime
from aar.text import clean_line, shorten


def list_(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST_ROWS, help="Rows to show.")] = 30,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """List campaigns, newest first."""
    with open_context(database) as context, context.database.reading() as session:
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
