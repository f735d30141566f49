"""The teacher audit on real scores: users of the teacher pass, and elicitation without it is labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from aar.problems.protocol import Estimate, Metric, Task, TaskScore
from aar.problems.toy import Toy
from aar.scoring.audits.protocol import Audit, AuditStage, AuditVerdict
from aar.scoring.audits.score_audits import TEACHER_INDEPENDENT, TeacherAudit
from aar.scoring.phases import CONFIRM, MEASURE, PERMUTED
from aar.testing.in_process_runs import make_audit_input, measure_in_process

from .scored import USERS, Scored, Untaught


class Unexplained(Toy):
    """The toy problem by what a method leaves unexplained."""

    metric = Metric(name="unexplained", higher_is_better=False, ceiling=0.0)

    def pool(self, scores: Sequence[tuple[Task, TaskScore]]) -> Estimate:
        found = super().pool(scores)
        return Estimate(1 - found.mean, found.standard_error, 1 - found.high, 1 - found.low, found.tasks)


pytestmark = pytest.mark.anyio
AUDIT = TeacherAudit()


def test_it_is_an_audit_of_confirmations_and_asks_only_where_there_is_a_teacher(scored: Scored) -> None:
    assert isinstance(AUDIT, Audit)
    assert AUDIT.stage is AuditStage.CONFIRMED
    assert AUDIT.phases(scored.problem) == (PERMUTED,)
    assert AUDIT.phases(Untaught()) == ()


@pytest.mark.parametrize("method", USERS)
async def test_a_method_that_uses_its_teacher_passes(scored: Scored, method: str) -> None:
    found = await AUDIT.judge(scored.dossier(method))
    assert (found.verdict, found.rule) == (AuditVerdict.PASSED, "")
    assert found.evidence["share_surviving"] == 0
    assert found.evidence["low"] > 0.2


async def test_zero_shot_elicitation_is_labelled_and_nothing_worse(scored: Scored) -> None:
    found = await AUDIT.judge(scored.dossier("zero_shot"))
    assert (found.verdict, found.rule) == (AuditVerdict.LABELLED, TEACHER_INDEPENDENT)
    assert found.evidence["share_surviving"] == pytest.approx(1, abs=0.3)
    assert str(round(found.evidence["permuted"], 2)) not in found.reason


async def test_a_lucky_measurement_does_not_hide_that_the_teacher_is_not_used(scored: Scored) -> None:
    """The comparison is with the confirmation, which was not picked for being high."""
    lucky = scored.at("zero_shot", measure=0.9)
    assert (await AUDIT.judge(lucky)).rule == TEACHER_INDEPENDENT


async def test_before_a_confirmation_the_measurement_is_compared(scored: Scored) -> None:
    found = await AUDIT.judge(scored.dossier("vanilla", confirm=[]))
    assert found.verdict is AuditVerdict.PASSED
    assert found.evidence["undisturbed"] == scored.dossier("vanilla").phases[MEASURE.key].estimate.mean


async def test_no_score_under_permuted_labels_is_looked_at(scored: Scored) -> None:
    found = await AUDIT.judge(scored.dossier("vanilla", permuted=[]))
    assert (found.verdict, found.rule) == (AuditVerdict.FLAGGED, "teacher.unanswered")


async def test_without_a_teacher_or_a_score_it_is_skipped_with_a_reason(scored: Scored) -> None:
    made = scored.dossier("vanilla")
    for each in (
        replace(made, problem=Untaught()),
        scored.dossier("vanilla", measure=[], confirm=[]),
    ):
        found = await AUDIT.judge(each)
        assert found.verdict is AuditVerdict.SKIPPED
        assert found.reason


async def test_where_lower_is_better_a_rise_is_what_shows_the_teacher() -> None:
    problem = Unexplained()
    baseline = next(each for each in problem.baselines() if each.key == "nearest_points")
    phases = {
        phase.key: measure_in_process(problem, [baseline], phase, range(8))[baseline.key]
        for phase in (CONFIRM, PERMUTED)
    }
    made = make_audit_input(problem, baseline, phases)
    assert made.phases[PERMUTED.key].estimate.mean > made.phases[CONFIRM.key].estimate.mean
    assert (await AUDIT.judge(made)).verdict is AuditVerdict.PASSED
    deaf = make_audit_input(problem, baseline, {**phases, PERMUTED.key: phases[CONFIRM.key]})
    assert (await AUDIT.judge(deaf)).rule == TEACHER_INDEPENDENT
