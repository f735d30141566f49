"""Page that compares two campaigns, and the form to choose them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from aar.campaign.views import list_campaigns
from aar.readmodels.problem_metric import find_metric
from aar.readmodels.progress import HorizontalAxis
from aar.report.comparison import spec_rows
from aar.web.api.campaigns import public_spec
from aar.web.api.comparison import load_compared_campaign
from aar.web.app_state import AppStateDep
from aar.web.authentication import AudienceDep
from aar.web.path_params import find_campaign
from aar.web.rendering import render_page

router = APIRouter()
_Named = Annotated[str, Query(max_length=64)]


@router.get("/compare")
def compare_page(
    shared: AppStateDep, audience: AudienceDep, left: _Named = "", right: _Named = "", over: HorizontalAxis = "hours"
) -> Response:
    """Compares two campaigns; without two, shows the form only.

    Specs, scores, boards, costs and diversity.
    """
    with shared.db.reading() as session:
        context: dict[str, Any] = {"campaigns": list_campaigns(session), "chosen": None, "over": over}
        context |= {"left": left, "right": right}
        if left and right:
            one, other = find_campaign(session, left), find_campaign(session, right)
            context |= {
                "left": one.id,
                "right": other.id,
                "chosen": [
                    (one, load_compared_campaign(session, one, audience)),
                    (other, load_compared_campaign(session, other, audience)),
                ],
                "spec": spec_rows(public_spec(one), public_spec(other)),
                # Scores on one chart need one metric.
                "metric": find_metric(one.problem),
                "same_problem": one.problem == other.problem,
            }
    return render_page("compare.html", context)
