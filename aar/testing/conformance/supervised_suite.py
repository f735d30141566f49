"""The conformance suite of ``corrupt``, which the audits with corrupted labels rely on.

Use it beside ``ProblemSuite``::

    class TestOurTeacher(SupervisedSuite):
        @pytest.fixture
        def problem(self) -> SupervisedProblem:
            return find_problem("./our_problem")

        def read(self, public: Path) -> tuple[Sequence[float], object]:
            labels = json.loads((public / "labels.json").read_text())
            return labels.pop("word"), labels

It runs baselines on this machine, outside any sandbox: only run it on baselines that you trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from aar.errors import ProblemError
from aar.problems.protocol import Corruption, Stage, SupervisedProblem, Task
from aar.testing.conformance.problem_suite import domain_stage, folder_bytes, run_baseline

PERMUTED = Corruption(permute=True)
CORRUPTIONS = (PERMUTED, Corruption(noise=0.2), Corruption(noise=1.0))


class SupervisedSuite:
    """Tests of ``corrupt``. Subclass it and give it the fixture ``problem`` and the method ``read``."""

    @pytest.fixture
    def problem(self) -> SupervisedProblem:
        """Return the problem to check."""
        raise NotImplementedError("give the fixture problem")

    def read(self, public: Path) -> tuple[Sequence[float], object]:
        """Return the teacher's label of each item, and all other content of its files.

        The other content is compared by ``==``.
        """
        raise NotImplementedError("override read: return the teacher's labels")

    @pytest.fixture
    def task(self, problem: SupervisedProblem, tmp_path: Path) -> Task:
        """Return one prepared task of the first research domain."""
        return problem.prepare(problem.climbed_domains[0], Stage.MEASURE, 11, tmp_path / "task")

    def test_can_be_corrupted(self, problem: SupervisedProblem) -> None:
        assert isinstance(problem, SupervisedProblem)

    @pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.key)
    def test_spoils_the_same_way_again(
        self, problem: SupervisedProblem, tmp_path: Path, corruption: Corruption
    ) -> None:
        for domain in (*problem.climbed_domains, *problem.transfer_domains):
            seen = []
            for copy, seed in enumerate((3, 3, 4)):
                task = problem.prepare(domain, domain_stage(problem, domain), 5, tmp_path / f"{domain}{copy}")
                problem.corrupt(task, corruption, seed)
                seen.append(folder_bytes(task.public))
            assert seen[0] == seen[1]
            assert (seen[0] == seen[2]) == (corruption.noise == 1), "another seed, another draw"

    @pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.key)
    def test_changes_the_teachers_word_alone(
        self, problem: SupervisedProblem, task: Task, corruption: Corruption
    ) -> None:
        hidden, public = folder_bytes(task.hidden), folder_bytes(task.public)
        modes, (word, rest) = _modes(task), self.read(task.public)
        problem.corrupt(task, corruption, 1)
        spoilt, kept = self.read(task.public)
        assert folder_bytes(task.hidden) == hidden
        assert folder_bytes(task.public).keys() == public.keys()
        assert len(spoilt) == len(word)
        assert list(spoilt) != list(word)
        assert kept == rest
        assert _modes(task) == modes

    def test_no_noise_changes_nothing(self, problem: SupervisedProblem, task: Task) -> None:
        before = folder_bytes(task.public)
        problem.corrupt(task, Corruption(), 1)
        assert folder_bytes(task.public) == before

    def test_permuting_keeps_the_words_as_a_whole(self, problem: SupervisedProblem, task: Task) -> None:
        word, _ = self.read(task.public)
        problem.corrupt(task, PERMUTED, 1)
        spoilt, _ = self.read(task.public)
        assert sorted(spoilt) == sorted(word)

    @pytest.mark.parametrize("noise", [0.1, 0.5, 0.9])
    def test_noise_takes_its_share(self, problem: SupervisedProblem, task: Task, noise: float) -> None:
        word, _ = self.read(task.public)
        problem.corrupt(task, Corruption(noise=noise), 1)
        spoilt, _ = self.read(task.public)
        changed = sum(before != after for before, after in zip(word, spoilt, strict=True))
        assert changed == pytest.approx(noise * len(word), abs=1 + len(word) / 100)

    def test_less_noise_takes_some_of_the_same_items(self, problem: SupervisedProblem, tmp_path: Path) -> None:
        changed = []
        for noise in (0.0, 0.2, 0.4):
            task = problem.prepare(problem.climbed_domains[0], Stage.MEASURE, 11, tmp_path / str(noise))
            word, _ = self.read(task.public)
            problem.corrupt(task, Corruption(noise=noise), 1)
            spoilt, _ = self.read(task.public)
            pairs = enumerate(zip(word, spoilt, strict=True))
            changed.append({item for item, (before, after) in pairs if before != after})
        assert changed[0] < changed[1] < changed[2]

    @pytest.mark.parametrize("noise", [-0.1, 1.1, float("nan")])
    def test_refuses_what_is_no_share(self, problem: SupervisedProblem, task: Task, noise: float) -> None:
        with pytest.raises(ProblemError):
            problem.corrupt(task, Corruption(noise=noise), 1)

    def test_a_baseline_that_listens_notices(self, problem: SupervisedProblem, task: Task, tmp_path: Path) -> None:
        """Check that a baseline that uses the labels notices a corruption.

        No audit could otherwise detect a method that does not use them.
        """
        spoilt = problem.prepare(task.domain, task.stage, task.split_seed, tmp_path / "spoilt")
        problem.corrupt(spoilt, PERMUTED, 1)
        falls = []
        for baseline in problem.baselines():
            means = []
            for name, given in (("clean", task), ("spoilt", spoilt)):
                out = tmp_path / f"{baseline.key}-{name}"
                run_baseline(problem, baseline, given, out)
                means.append(problem.pool([(given, problem.score(given, out))]).mean)
            falls.append(means[0] - means[1] if problem.metric.higher_is_better else means[1] - means[0])
        assert max(falls) > 0


def _modes(task: Task) -> dict[Path, int]:
    return {path: path.stat().st_mode for folder in (task.public, task.hidden) for path in folder.rglob("*")}
