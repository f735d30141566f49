"""Chart tables by name, for the API and the links below each chart."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy.orm import Session

from aar.budget.totals import read_totals
from aar.campaign.views import CampaignView, list_researchers
from aar.readmodels.chart_data import ChartTable, cost_table, diversity_table, lineage_table, score_table
from aar.readmodels.problem_metric import find_metric
from aar.readmodels.progress import list_visible_submissions, read_progress
from aar.scoring.visibility import Audience


class ChartName(StrEnum):
    """The name of a chart table."""

    SCORE = "score"
    DIVERSITY = "diversity"
    LINEAGE = "lineage"
    COSTS = "costs"


def chart_table(session: Session, view: CampaignView, name: ChartName, audience: Audience) -> ChartTable:
    """Returns the data of a campaign's chart, as an audience may see it."""
    if name is ChartName.COSTS:
        found = read_totals(session, view.id)
        team = list_researchers(session, view.id)
        return cost_table({each.name: found.researchers[each.id] for each in team}, found.campaign)
    metric = find_metric(view.problem)
    submissions = list_visible_submissions(session, view.id, audience)
    if name is ChartName.LINEAGE:
        return lineage_table(submissions)
    higher = metric is None or metric.higher_is_better
    so_far = read_progress(session, view.id, submissions, higher_is_better=higher)
    return score_table(so_far) if name is ChartName.SCORE else diversity_table(so_far)
