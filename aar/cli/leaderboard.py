"""``aar leaderboard``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aar.cli.options import LATEST, CampaignId, DatabaseOption, JsonFlag

if TYPE_CHECKING:
    from rich.table import Table

    from aar.scoring.leaderboard import LeaderboardRow


def leaderboard(
    campaign: CampaignId = LATEST,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Rows to show.")] = 20,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Show measured submissions, best first.

    Scores are measured by the controller in a clean room; nobody can write one.
    """
    from aar.cli.opening import opened
    from aar.cli.output import print_json, print_table
    from aar.report.metrics import metric_of
    from aar.scoring.leaderboard import leaderboard as read

    with opened(database) as workplace:
        view = workplace.campaign(campaign)
        metric = metric_of(view.problem)
        with workplace.database.reading() as session:
            rows = read(session, view.id, limit=limit, higher_is_better=metric is None or metric.higher_is_better)
    if json:
        print_json(rows)
        return
    print_table(board(rows, metric.name if metric else "score"), empty="Nothing is measured yet.")


def board(rows: list[LeaderboardRow], metric: str) -> Table:
    """Rows of the leaderboard as a table."""
    from aar.cli.output import table
    from aar.cli.text import clean_line, score

    made = table("#", metric, "90 % interval", "seeds", "submission", "by", "title", right=("#", "seeds"))
    for row in rows:
        each = row.submission
        interval = "–" if each.low is None or each.high is None else f"{each.low:.2f} … {each.high:.2f}"
        made.add_row(
            str(row.rank),
            score(each.mean, each.standard_error),
            interval,
            str(each.seeds),
            f"s{each.number}",
            clean_line(each.researcher_name),
            clean_line(each.title),
        )
    return made
