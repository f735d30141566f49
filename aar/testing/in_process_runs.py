"""In-process runs of a problem's own baselines, for simulations with thousands of runs.

They use no sandbox.

Only for methods that ship with a problem and are trusted. A researcher's method runs in the clean room.
"""

from __future__ import annotations

import runpy
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from aar.problems.protocol import Baseline, Problem, Task, TaskScore, corrupt_labels
from aar.scoring.audits.protocol import AuditInput, PhaseScores
from aar.scoring.phases import MEASURE, Phase


def run_in_process(problem: Problem, baseline: Baseline, task: Task, seed: int) -> Path:
    """Run a baseline on a task and return its output, beside the task's bundles."""
    output = task.public.parent / f"{baseline.key}.out"
    script = str(baseline.directory / "run.py")
    before, path = sys.argv, sys.path.copy()
    sys.argv = [script, "--data", str(task.public), "--seed", str(seed), "--out", str(output)]
    sys.path.insert(0, str(problem.lab()))
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before, path
    return output


@contextmanager
def draw_task(problem: Problem, domain: str, split_seed: int, phase: Phase = MEASURE) -> Iterator[Task]:
    """Draw a task of a phase in a scratch folder that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="aar-bare-"))
    try:
        task = problem.prepare(domain, phase.stage, split_seed, folder)
        if phase.corruption is not None:
            corrupt_labels(problem, task, phase.corruption, split_seed)
        yield task
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure_in_process(
    problem: Problem, baselines: Sequence[Baseline], phase: Phase, seeds: Iterable[int]
) -> dict[str, list[tuple[Task, TaskScore]]]:
    """Return the scores of each baseline in a phase, by its key.

    They cover every research domain, for every seed in turn.
    """
    scores: dict[str, list[tuple[Task, TaskScore]]] = {baseline.key: [] for baseline in baselines}
    for seed in seeds:
        for domain in problem.climbed_domains:
            with draw_task(problem, domain, seed, phase) as task:
                for baseline in baselines:
                    scores[baseline.key].append(
                        (task, problem.score(task, run_in_process(problem, baseline, task, seed)))
                    )
    return scores


def make_audit_input(
    problem: Problem, baseline: Baseline, runs: Mapping[str, Sequence[tuple[Task, TaskScore]]]
) -> AuditInput:
    """Build the audit input of a baseline with these scores, by phase key."""
    seeds = {key: len(scores) // len(problem.climbed_domains) for key, scores in runs.items()}
    return AuditInput(
        campaign_id="baselines",
        number=1,
        title=baseline.summary,
        claim=baseline.summary,
        hypothesis="",
        families=("other",),
        code=baseline.directory,
        problem=problem,
        phases={key: PhaseScores(problem.pool(scores), scores, seeds[key]) for key, scores in runs.items()},
    )
