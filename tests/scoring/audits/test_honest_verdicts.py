"""The honest are not disqualified: a small version of benchmarks/false_disqualifications.py."""

from __future__ import annotations

import pytest

from aar.problems.registry import find_problem
from aar.scoring.audits.audit_runner import available_audits
from aar.scoring.audits.protocol import AuditVerdict
from aar.testing.honest_methods import judge_baselines


@pytest.mark.parametrize(("name", "keys"), [("toy", None), ("weak_to_strong", ("vanilla", "strong_l2", "zero_shot"))])
def test_no_audit_disqualifies_a_baseline(name: str, keys: tuple[str, ...] | None) -> None:
    problem = find_problem(name)
    baselines = [each for each in problem.baselines() if keys is None or each.key in keys]
    audits = available_audits(noise_levels=[0.4])
    answers = judge_baselines(problem, baselines, audits, seeds=2, audit_seeds=2, first=1)
    assert len(answers) == len(baselines) * len(audits)
    assert AuditVerdict.DISQUALIFIED not in {answer.verdict for answer in answers}, answers
    static = [answer for answer in answers if answer.audit == "static"]
    assert {answer.verdict for answer in static} == {AuditVerdict.PASSED}
    judged = {answer.audit for answer in answers if answer.verdict is not AuditVerdict.SKIPPED}
    assert judged >= {"static", "teacher", "label-noise"}
