"""The split-sensitivity audit: checks if splits differ more than sampling error explains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from aar.errors import ProblemError
from aar.problems.plugin_calls import pool_scores
from aar.problems.protocol import Estimate, Problem, SupervisedProblem
from aar.scoring.audits.protocol import AuditInput, AuditResult, AuditStage, AuditVerdict
from aar.scoring.phases import CONFIRM, MEASURE, Phase

MIN_VARIANCE_RATIO = 9.0
"""Ratio of variances that is flagged: a spread between splits of three times the sampling error."""
SIGNIFICANCE_LEVEL = 0.01
MIN_SPLITS = 3
"""Fewest degrees of freedom for a verdict."""


class SplitSensitivityAudit:
    """Flags a method whose score depends on luck with the split.

    Needs no runs of its own.

    Within a domain and phase, Cochran's ``Q = sum((x_s - mean)^2 / se_s^2)`` of the splits' single scores is
    chi-squared with k - 1 degrees f if there are only sampling errors. A teacher is drawn anew for each split, so
    an honest method's splits differ by more: its ratio Q / f is 1 to 7 on the shipped problem. Flagged is a ratio that
    is surely above 9, ``Q > 9 chi2(0.99, f)`` with Q and f summed over domains and phases.
    """

    name = "split-sensitivity"
    stage = AuditStage.CONFIRMED

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """Return no phases: the audit needs no runs of its own."""
        return ()

    async def judge(self, dossier: AuditInput) -> AuditResult:
        """Compare the spread of the scores so far with their own errors."""
        from scipy.special import chdtri

        if not isinstance(dossier.problem, SupervisedProblem):
            return AuditResult(
                self.name, AuditVerdict.SKIPPED, "", f"{dossier.problem.name} draws no teacher with its splits"
            )
        scatter, freedom = 0.0, 0
        for singles in await _groups(dossier):
            if len(singles) > 1 and all(each.standard_error > 0 for each in singles):
                weights = [1 / each.standard_error**2 for each in singles]
                pairs = list(zip(weights, singles, strict=True))
                mean = sum(weight * each.mean for weight, each in pairs) / sum(weights)
                scatter += sum(weight * (each.mean - mean) ** 2 for weight, each in pairs)
                freedom += len(singles) - 1
        if freedom < MIN_SPLITS:
            return AuditResult(self.name, AuditVerdict.SKIPPED, "", "too few splits with an error of their own")
        ratio, sure = scatter / freedom, scatter / float(chdtri(freedom, SIGNIFICANCE_LEVEL))
        evidence = {"variance_ratio": ratio, "surely_above": sure, "freedom": freedom}
        if sure > MIN_VARIANCE_RATIO:
            reason = "The score depends on the split far more than the size of its test set explains."
            return AuditResult(self.name, AuditVerdict.FLAGGED, "splits.unstable", reason, evidence)
        return AuditResult(self.name, AuditVerdict.PASSED, "", "The splits agree as well as can be expected.", evidence)


async def _groups(dossier: AuditInput) -> list[list[Estimate]]:
    """Return the estimate of each split alone, by phase and domain."""
    groups: dict[tuple[str, str], list[Estimate]] = defaultdict(list)
    for key in (MEASURE.key, CONFIRM.key):
        if key in dossier.phases:
            for task, scored in dossier.phases[key].scores:
                with suppress(ProblemError):  # one split alone may have no gap to recover
                    groups[key, task.domain].append(await pool_scores(dossier.problem, [(task, scored)]))
    return list(groups.values())
