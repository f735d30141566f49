"""No number that is not finite comes in by a spec, a limit, an event, a tool or a request."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from aar.budget.limits import Limits, ResearcherLimits
from aar.events import DiversityMeasured, SubmissionMeasured

MEASURED = {"submission_id": 1, "number": 1, "metric": "PGR", "score": 0.5, "standard_error": 0.1}


@pytest.mark.parametrize("value", [math.nan, math.inf, "NaN", "Infinity"])
@pytest.mark.parametrize(
    ("model", "given", "name"),
    [
        (Limits, {}, "hours"),
        (Limits, {}, "usd"),
        (Limits, {}, "core_hours"),
        (ResearcherLimits, {}, "scoring_runs_per_hour"),
        (SubmissionMeasured, MEASURED, "score"),
        (SubmissionMeasured, MEASURED, "standard_error"),
        (DiversityMeasured, {"families": 2}, "bits"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_it_is_refused_by_name(model: type[BaseModel], given: Mapping[str, Any], name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        model.model_validate({**given, name: value})
