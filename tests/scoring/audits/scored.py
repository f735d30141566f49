"""Real scores of shipped baselines: three seeds in each phase that an audit compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from aar.problems.protocol import Baseline, Estimate, Task, TaskScore
from aar.problems.toy import Toy
from aar.problems.weak_to_strong import WeakToStrong
from aar.scoring.audits.protocol import AuditInput
from aar.testing.in_process_runs import make_audit_input

Runs = Mapping[str, list[tuple[Task, TaskScore]]]


class Untaught(Toy):
    """A problem without a teacher."""

    corrupt = None  # type: ignore[assignment]


METHODS = ("vanilla", "strong_l2", "zero_shot")
USERS = METHODS[:-1]
SEEDS = 3


@dataclass(frozen=True, slots=True)
class Scored:
    """Runs of the baselines, by method and phase."""

    problem: WeakToStrong
    baselines: Mapping[str, Baseline]
    by_method: Mapping[str, Runs]

    def dossier(self, method: str, **phases: list[tuple[Task, TaskScore]]) -> AuditInput:
        """What audits see of a method; ``phases`` puts other runs in the place of its own."""
        chosen = {**self.by_method[method], **{key.replace("_", "-"): scores for key, scores in phases.items()}}
        return make_audit_input(
            self.problem, self.baselines[method], {key: scores for key, scores in chosen.items() if scores}
        )

    def at(self, method: str, **means: float) -> AuditInput:
        """The same with the means of some phases moved, their errors kept."""
        made = self.dossier(method)
        phases = dict(made.phases)
        for name, mean in means.items():
            scored = phases[name.replace("_", "-")]
            phases[name.replace("_", "-")] = replace(scored, estimate=moved(scored.estimate, mean))
        return replace(made, phases=phases)


def moved(estimate: Estimate, mean: float) -> Estimate:
    """An estimate with another mean."""
    by = mean - estimate.mean
    return replace(estimate, mean=mean, low=estimate.low + by, high=estimate.high + by)
