"""``aar leaderboard``: measured submissions, best first."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from aar.cli.campaign_options import LATEST, CampaignId
from aar.cli.context import open_context
from aar.cli.options import MOST_ROWS, DatabaseOption, JsonFlag
from aar.cli.output.formatting import clean_line, format_score
from aar.cli.output.printing import make_console, make_table, print_json, print_table
from aar.readmodels.problem_metric import find_metric
from aar.readmodels.submissions.board import BoardRow, read_board
from aar.scoring.submissions import SubmissionView


def leaderboard(
    campaign: CampaignId = LATEST,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST_ROWS, help="Rows to show.")] = 20,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Show measured submissions, best first.

    The controller measures scores in a clean room; no researcher can write one. Rows of one band cannot be told
    apart. Once a submission is confirmed on unseen data, the best confirmed one leads. What was disqualified or refuted
    stands below, without a rank.
    """
    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        metric = find_metric(view.problem)
        higher = metric is None or metric.higher_is_better
        with workplace.database.reading() as session:
            found = read_board(session, view.id, limit=limit, higher_is_better=higher)
    if json:
        print_json(found.rows)
        return
    print_table(
        leaderboard_table(found.rows, metric.name if metric else "score"), empty="No submission is measured yet."
    )
    _print_fallen("Disqualified", found.disqualified)
    _print_fallen("Refuted at confirmation", found.refuted)


def leaderboard_table(rows: list[BoardRow], metric: str) -> Table:
    """Return the rows of the leaderboard as a table."""
    made = make_table(
        "#", "band", metric, "90 % interval", "confirmed", "seeds", "", "by", "status", "title", right=("#", "seeds")
    )
    for row in rows:
        each = row.submission
        interval = "–" if each.low is None or each.high is None else f"{each.low:.2f} … {each.high:.2f}"
        sealed = row.confirmed.score if row.confirmed else None
        made.add_row(
            str(row.rank),
            str(row.band),
            format_score(each.mean, each.standard_error),
            interval,
            format_score(sealed.mean, sealed.standard_error) if sealed else "–",
            str(each.seeds),
            f"s{each.number}",
            clean_line(each.researcher_name) + (" (outside)" if each.outside else ""),
            "provisional" if row.provisional else each.status,
            clean_line(" ".join([each.title, *(f"[{label}]" for label in row.labels)])),
        )
    return made


def _print_fallen(head: str, found: list[SubmissionView]) -> None:
    out = make_console()
    if found:
        out.print(f"\n{head}", style="bold")
    for each in found:
        rule = f"  {clean_line(each.disqualified)}" if each.disqualified else ""
        out.print(f"  s{each.number} by {clean_line(each.researcher_name)}{rule}  {clean_line(each.title)}")
