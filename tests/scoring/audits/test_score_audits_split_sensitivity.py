"""Split sensitivity on real scores, and on those of a method that guesses which class is which."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aar.problems.protocol import TaskScore
from aar.scoring.audits.protocol import Audit, AuditVerdict
from aar.scoring.audits.score_audits import SplitSensitivityAudit

from .scored import METHODS, Runs, Scored, Untaught

pytestmark = pytest.mark.anyio
AUDIT = SplitSensitivityAudit()


def turned(score: TaskScore) -> TaskScore:
    """The score of the opposite predictions."""
    flipped = {f"mwc_{1 - int(key[4])}{key[5:]}": value for key, value in score.parts.items() if key[:4] == "mwc_"}
    return TaskScore({**score.parts, **flipped, "method_accuracy": 1 - score.parts["method_accuracy"]})


def lottery(runs: Runs, phase: str) -> list[tuple[object, TaskScore]]:
    """Every third score turned round."""
    return [(task, turned(score) if place % 3 == 0 else score) for place, (task, score) in enumerate(runs[phase])]


def test_it_needs_no_runs(scored: Scored) -> None:
    assert isinstance(AUDIT, Audit)
    assert AUDIT.phases(scored.problem) == ()


@pytest.mark.parametrize("method", METHODS)
async def test_honest_methods_pass(scored: Scored, method: str) -> None:
    found = await AUDIT.judge(scored.dossier(method))
    assert found.verdict is AuditVerdict.PASSED
    assert found.evidence["freedom"] == 8
    assert 0.2 < found.evidence["variance_ratio"] < 15


async def test_a_method_that_guesses_which_class_is_which_is_flagged(scored: Scored) -> None:
    runs = scored.by_method["strong_l2"]
    found = await AUDIT.judge(
        scored.dossier("strong_l2", measure=lottery(runs, "measure"), confirm=lottery(runs, "confirm"))  # type: ignore[arg-type]
    )
    assert (found.verdict, found.rule) == (AuditVerdict.FLAGGED, "splits.unstable")
    assert found.evidence["surely_above"] > 9


async def test_too_few_splits_or_no_teacher_is_skipped_with_a_reason(scored: Scored) -> None:
    runs = scored.by_method["vanilla"]
    few = scored.dossier("vanilla", measure=runs["measure"][:2], confirm=[])
    coins = replace(scored.dossier("vanilla"), problem=Untaught())
    for each in (few, coins):
        found = await AUDIT.judge(each)
        assert found.verdict is AuditVerdict.SKIPPED
        assert found.reason
