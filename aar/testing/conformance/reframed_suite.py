"""The conformance suite of ``change_coordinates``, which the coordinates audit relies on.

Use it beside ``ProblemSuite``::

    class TestOurCoordinates(ReframedSuite):
        @pytest.fixture
        def problem(self) -> ReframedProblem:
            return find_problem("./our_problem")

It runs baselines on this machine, outside any sandbox: only run it on baselines that you trust.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from aar.problems.protocol import Corruption, Problem, ReframedProblem, Stage, Task, corrupt_labels, supports_corruption
from aar.testing.conformance.problem_suite import domain_stage, folder_bytes, run_baseline

CHANGE = Corruption(coordinates=True)


class ReframedSuite:
    """Tests of ``change_coordinates``. Subclass it and give it the fixture ``problem``."""

    @pytest.fixture
    def problem(self) -> ReframedProblem:
        """Return the problem to check."""
        raise NotImplementedError("give the fixture problem")

    @pytest.fixture
    def task(self, problem: Problem, tmp_path: Path) -> Task:
        """Return one prepared task of the first research domain."""
        return problem.prepare(problem.climbed_domains[0], Stage.MEASURE, 11, tmp_path / "task")

    def test_offers_other_coordinates(self, problem: ReframedProblem) -> None:
        assert isinstance(problem, ReframedProblem)
        assert supports_corruption(problem, CHANGE)

    def test_changes_the_same_way_again(self, problem: ReframedProblem, tmp_path: Path) -> None:
        for domain in (*problem.climbed_domains, *problem.transfer_domains):
            seen = []
            for copy in range(2):
                task = problem.prepare(domain, domain_stage(problem, domain), 5, tmp_path / f"{domain}{copy}")
                corrupt_labels(problem, task, CHANGE, 3)
                seen.append(folder_bytes(task.public))
            assert seen[0] == seen[1]

    def test_changes_how_items_are_written_and_nothing_else(self, problem: ReframedProblem, task: Task) -> None:
        hidden, public, modes = folder_bytes(task.hidden), folder_bytes(task.public), _modes(task)
        corrupt_labels(problem, task, CHANGE, 3)
        changed = folder_bytes(task.public)
        assert folder_bytes(task.hidden) == hidden
        assert changed.keys() == public.keys()
        assert changed != public
        assert {name: len(content) for name, content in changed.items()} == {
            name: len(content) for name, content in public.items()
        }
        assert _modes(task) == modes

    def test_baselines_do_not_notice(self, problem: ReframedProblem, task: Task, tmp_path: Path) -> None:
        """Check that baselines do not notice: the audit would flag honest methods otherwise."""
        changed = problem.prepare(task.domain, task.stage, task.split_seed, tmp_path / "changed")
        corrupt_labels(problem, changed, CHANGE, 3)
        for baseline in problem.baselines():
            found = []
            for name, given in (("as-it-is", task), ("changed", changed)):
                out = tmp_path / f"{baseline.key}-{name}"
                run_baseline(problem, baseline, given, out)
                found.append(problem.pool([(given, problem.score(given, out))]))
            before, after = found
            error = before.standard_error or 0.05 * abs(problem.metric.ceiling)
            assert abs(after.mean - before.mean) < 0.5 * error, f"{baseline.key}: {before.mean} and {after.mean}"


def _modes(task: Task) -> dict[Path, int]:
    return {path: path.stat().st_mode for folder in (task.public, task.hidden) for path in folder.rglob("*")}
