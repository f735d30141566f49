"""False positive check of the audits: no honest method may be disqualified.

The baselines that ship with a problem are run in this process, on freshly drawn splits, in every phase that an audit
asks for; then every audit judges them as at a confirmation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aar.problems.protocol import Baseline, Problem, supports_corruption
from aar.scoring.audits.protocol import Audit, AuditInput, AuditResult, AuditVerdict
from aar.scoring.phases import CONFIRM, MEASURE, Phase
from aar.testing.simulations.in_process_runs import make_audit_input, measure_in_process

_APART = 1000


@dataclass(frozen=True, slots=True)
class AuditAnswer:
    """The verdict of one audit on one baseline, with its reason."""

    baseline: str
    audit: str
    verdict: AuditVerdict
    rule: str
    reason: str


def judge_baselines(
    problem: Problem,
    baselines: Sequence[Baseline],
    audits: Sequence[Audit],
    *,
    seeds: int,
    audit_seeds: int,
    first: int,
) -> list[AuditAnswer]:
    """Return every audit's verdict on every baseline.

    Args:
        seeds: of the measurement and of the confirmation, each on every domain climbed on.
        audit_seeds: of every other phase.
        first: the first seed; calls that differ in it by 1 share no seeds.
    """
    asked = dict.fromkeys(phase for audit in audits for phase in audit.phases(problem))
    phases = [MEASURE, CONFIRM, *(phase for phase in asked if phase not in (MEASURE, CONFIRM))]
    series = {phase.key: place for place, phase in enumerate(phases)}
    scores = {
        phase.key: measure_in_process(
            problem, baselines, phase, _seeds(phase, series[phase.draw_series], seeds, audit_seeds, first)
        )
        for phase in phases
        if phase.corruption is None or supports_corruption(problem, phase.corruption)
    }
    answers = []
    for baseline in baselines:
        about = make_audit_input(problem, baseline, {key: found[baseline.key] for key, found in scores.items()})
        for audit in audits:
            answer = asyncio.run(_judge(audit, about))
            answers.append(AuditAnswer(baseline.key, audit.name, answer.verdict, answer.rule, answer.reason))
    return answers


async def _judge(audit: Audit, about: AuditInput) -> AuditResult:
    return await audit.judge(about)


def _seeds(phase: Phase, place: int, seeds: int, audit_seeds: int, first: int) -> range:
    count = seeds if phase in (MEASURE, CONFIRM) else audit_seeds
    begin = _APART * (100 * first + place)
    return range(begin, begin + count)
