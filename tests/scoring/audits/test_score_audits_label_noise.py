"""The label-noise audit on real scores, and on those of methods that tell disturbed labels from real ones."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from aar.scoring.audits.protocol import Audit, AuditVerdict
from aar.scoring.audits.score_audits import LabelNoiseAudit
from aar.scoring.phases import noise_phase

from .scored import METHODS, Scored, Untaught

pytestmark = pytest.mark.anyio
AUDIT = LabelNoiseAudit((0.2, 0.4))


def test_it_asks_for_each_level_once_and_only_where_there_is_a_teacher(scored: Scored) -> None:
    assert isinstance(AUDIT, Audit)
    assert LabelNoiseAudit((0.4, 0.2, 0.4)).phases(scored.problem) == (noise_phase(0.2), noise_phase(0.4))
    assert AUDIT.phases(Untaught()) == ()


@pytest.mark.parametrize("level", [0.0, 0.51, -0.1])
def test_levels_that_say_nothing_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="noise levels"):
        LabelNoiseAudit((0.2, level))


@pytest.mark.parametrize("method", METHODS)
async def test_honest_methods_pass(scored: Scored, method: str) -> None:
    found = await AUDIT.judge(scored.dossier(method))
    assert (found.verdict, found.rule) == (AuditVerdict.PASSED, "")
    assert [each["noise"] for each in found.evidence["curve"]] == [0, 0.2, 0.4]


async def test_a_method_that_gives_up_once_it_sees_disturbed_labels_falls_off_a_cliff(scored: Scored) -> None:
    permuted = scored.by_method["strong_l2"]["permuted"]
    found = await AUDIT.judge(scored.dossier("strong_l2", noise_20=permuted, noise_40=permuted))
    assert (found.verdict, found.rule) == (AuditVerdict.FLAGGED, "noise.cliff")


async def test_a_show_of_depending_on_the_teacher_is_flat(scored: Scored) -> None:
    """Zero-shot, but chance as soon as the labels look permuted: the teacher audit is passed, this one is not."""
    bottom = scored.dossier("vanilla").phases["permuted"].estimate.mean
    clean = scored.dossier("zero_shot").phases["confirm"].estimate.mean
    found = await AUDIT.judge(scored.at("zero_shot", permuted=bottom, noise_20=clean, noise_40=clean))
    assert (found.verdict, found.rule) == (AuditVerdict.FLAGGED, "noise.flat")


async def test_a_sure_fall_is_one_however_much_permuting_costs(scored: Scored) -> None:
    """A method that votes by agreement loses far more than its score when the labels are permuted."""
    phases = scored.dossier("strong_l2").phases
    clean, noisy = phases["confirm"].estimate, phases["noise-40"].estimate
    lower = clean.mean - 4 * math.hypot(clean.standard_error, noisy.standard_error)
    found = await AUDIT.judge(scored.at("strong_l2", permuted=-3.0, noise_20=lower, noise_40=lower))
    assert (found.verdict, found.rule) == (AuditVerdict.PASSED, "")


async def test_with_little_noise_nobody_is_called_flat(scored: Scored) -> None:
    bottom = scored.dossier("vanilla").phases["permuted"].estimate.mean
    made = scored.at("zero_shot", permuted=bottom)
    assert (await LabelNoiseAudit((0.2,)).judge(made)).verdict is AuditVerdict.PASSED


async def test_a_score_that_rises_with_the_noise_is_flagged(scored: Scored) -> None:
    made = scored.at("strong_l2", noise_40=0.9)
    found = await AUDIT.judge(made)
    assert (found.verdict, found.rule) == (AuditVerdict.FLAGGED, "noise.rises")
    without = replace(made, phases={key: value for key, value in made.phases.items() if key != "permuted"})
    assert (await AUDIT.judge(without)).rule == "noise.rises"


async def test_without_permuted_scores_a_fall_passes(scored: Scored) -> None:
    assert (await AUDIT.judge(scored.dossier("vanilla", permuted=[]))).verdict is AuditVerdict.PASSED


async def test_no_score_at_a_level_is_looked_at(scored: Scored) -> None:
    found = await AUDIT.judge(scored.dossier("vanilla", noise_20=[]))
    assert (found.verdict, found.rule) == (AuditVerdict.FLAGGED, "noise.unanswered")


async def test_without_a_teacher_a_level_or_a_score_it_is_skipped(scored: Scored) -> None:
    made = scored.dossier("vanilla")
    coins = replace(made, problem=Untaught())
    nothing = scored.dossier("vanilla", measure=[], confirm=[])
    for audit, each in ((AUDIT, coins), (LabelNoiseAudit(()), made), (AUDIT, nothing)):
        found = await audit.judge(each)
        assert found.verdict is AuditVerdict.SKIPPED
        assert found.reason
