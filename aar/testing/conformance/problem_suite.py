"""The conformance suite of problems, for the shipped ones and for yours.

Use it for a problem of your own::

    class TestOurProblem(ProblemSuite):
        @pytest.fixture
        def problem(self) -> Problem:
            return find_problem("./our_problem")

It runs each baseline once on this machine, outside any sandbox: only run it on baselines that you trust.
"""

from __future__ import annotations

import ast
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from aar.errors import NotFound, ProblemError
from aar.problems.protocol import (
    Baseline,
    Corruption,
    Estimate,
    OutputRejected,
    Problem,
    ReframedProblem,
    Stage,
    SupervisedProblem,
    Task,
    TaskScore,
    corrupt_labels,
    supports_corruption,
)

_GARBAGE = (
    b"",
    b"\x00\xff" * 50,
    b"not a prediction\n",
    b"\x80\x04cposix\nsystem\n.",
    b"nan\n" * 100,
    b"\x93NUMPY\x01\x00",
)
PERMUTED = Corruption(permute=True)
CORRUPTIONS = (PERMUTED, Corruption(noise=0.2), Corruption(noise=1.0))
CHANGE = Corruption(coordinates=True)


def domain_stage(problem: Problem, domain: str) -> Stage:
    """Return a stage that has splits of the domain."""
    return Stage.TRANSFER if domain in problem.transfer_domains else Stage.MEASURE


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Return relative path to content for every file below ``folder``."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run_baseline(problem: Problem, baseline: Baseline, task: Task, out: Path, seed: int = 0) -> None:
    """Run a baseline on a task as the contract demands.

    Fails the test with the baseline's output when it exits with an error.
    """
    command = [sys.executable, str(baseline.directory / "run.py"), "--data", str(task.public), "--seed", str(seed)]
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(problem.lab()), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([*command, "--out", str(out)], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{baseline.key}: {ran.stdout}{ran.stderr}"


class ProblemSuite:
    """Tests of a problem. Subclass it and give it the fixture ``problem``."""

    @pytest.fixture
    def problem(self) -> Problem:
        """Return the problem to check."""
        raise NotImplementedError("give the fixture problem")

    @pytest.fixture
    def task(self, problem: Problem, tmp_path: Path) -> Task:
        """Return one prepared task of the first research domain."""
        return problem.prepare(problem.climbed_domains[0], Stage.MEASURE, 11, tmp_path / "task")

    def test_keeps_the_protocol(self, problem: Problem) -> None:
        assert isinstance(problem, Problem)
        assert problem.name.replace("_", "").isalnum()
        assert problem.title
        assert problem.metric.name
        assert problem.default_seeds >= 2, "one seed has no error"

    def test_limits_are_positive(self, problem: Problem) -> None:
        limits = problem.run_limits
        assert min(limits.seconds, limits.memory_bytes, limits.cpus, limits.output_bytes) > 0

    def test_domains_are_distinct(self, problem: Problem) -> None:
        domains = [*problem.climbed_domains, *problem.transfer_domains]
        assert problem.climbed_domains
        assert len(set(domains)) == len(domains)
        assert set(problem.research_domains) <= set(problem.climbed_domains), "transfer domains must stay unseen"

    def test_data_is_whole(self, problem: Problem) -> None:
        problem.check_data()

    def test_validates_itself(self, problem: Problem) -> None:
        assert list(problem.validate()) == []

    def test_prepares_the_same_bytes_again(self, problem: Problem, tmp_path: Path) -> None:
        for domain in (*problem.climbed_domains, *problem.transfer_domains):
            stage = domain_stage(problem, domain)
            first = problem.prepare(domain, stage, 5, tmp_path / f"{domain}-1")
            second = problem.prepare(domain, stage, 5, tmp_path / f"{domain}-2")
            assert (first.domain, first.stage, first.split_seed) == (domain, stage, 5)
            assert folder_bytes(first.public) == folder_bytes(second.public)
            assert folder_bytes(first.hidden) == folder_bytes(second.hidden)

    def test_draws_another_split_for_another_seed_and_stage(self, problem: Problem, tmp_path: Path) -> None:
        domain = problem.climbed_domains[0]
        draws = [(stage, seed) for stage in (Stage.RESEARCH, Stage.MEASURE, Stage.CONFIRM) for seed in (1, 2)]
        seen = [
            folder_bytes(problem.prepare(domain, stage, seed, tmp_path / f"{stage}{seed}").public)
            for stage, seed in draws
        ]
        for index, content in enumerate(seen):
            assert content not in seen[:index], f"{draws[index]} repeats an earlier split"

    def test_takes_any_seed(self, problem: Problem, tmp_path: Path) -> None:
        for seed in (0, 2**31, 2**63 - 1):
            problem.prepare(problem.climbed_domains[0], Stage.MEASURE, seed, tmp_path / str(seed))

    def test_keeps_the_bundles_apart(self, task: Task) -> None:
        assert not task.hidden.is_relative_to(task.public)
        assert not task.public.is_relative_to(task.hidden)
        assert folder_bytes(task.public)
        assert folder_bytes(task.hidden)
        assert not any(path.is_symlink() for path in task.public.rglob("*"))

    def test_public_is_for_everybody_and_hidden_for_the_owner(self, task: Task) -> None:
        for path in (task.public, *task.public.rglob("*")):
            assert path.stat().st_mode & stat.S_IROTH, f"a sandbox's user cannot read {path.name}"
        for path in (task.hidden, *task.hidden.rglob("*")):
            assert not path.stat().st_mode & (stat.S_IRWXO | stat.S_IRWXG), f"others can read {path.name}"

    def test_refuses_what_it_does_not_have(self, problem: Problem, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            problem.prepare("no-such-domain", Stage.MEASURE, 0, tmp_path)
        with pytest.raises(ProblemError):
            problem.prepare(problem.climbed_domains[0], Stage.TRANSFER, 0, tmp_path)
        for domain in problem.transfer_domains:
            with pytest.raises(ProblemError):
                problem.prepare(domain, Stage.RESEARCH, 0, tmp_path)

    def test_baselines_are_methods(self, problem: Problem) -> None:
        baselines = problem.baselines()
        assert len({baseline.key for baseline in baselines}) == len(baselines) >= 1
        for baseline in baselines:
            about: dict[str, Any] = yaml.safe_load((baseline.directory / "method.yaml").read_text(encoding="utf-8"))
            assert about["title"], baseline.key
            assert about["claim"], baseline.key
            assert about["families"], baseline.key
            assert about["parent"] is None, baseline.key
            assert baseline.summary

    def test_baselines_run_and_score(self, problem: Problem, task: Task, tmp_path: Path) -> None:
        for baseline in problem.baselines():
            out = tmp_path / f"{baseline.key}.out"
            run_baseline(problem, baseline, task, out)
            estimate = problem.pool([(task, problem.score(task, out))])
            assert_sound_estimate(estimate, 1)

    def test_a_method_leaves_its_data_alone(self, problem: Problem, task: Task, tmp_path: Path) -> None:
        before = folder_bytes(task.public)
        run_baseline(problem, problem.baselines()[0], task, tmp_path / "out")
        assert folder_bytes(task.public) == before

    def test_rejects_what_cannot_be_scored(self, problem: Problem, task: Task, tmp_path: Path) -> None:
        out = tmp_path / "out"
        with pytest.raises(OutputRejected):
            problem.score(task, out)
        out.mkdir()
        with pytest.raises(OutputRejected):
            problem.score(task, out)
        for index, content in enumerate((*_GARBAGE, b"0" * (problem.run_limits.output_bytes + 1))):
            path = tmp_path / f"garbage-{index}"
            path.write_bytes(content)
            with pytest.raises(OutputRejected) as rejected:
                problem.score(task, path)
            assert str(rejected.value), "the researcher needs a reason"
            assert str(task.hidden) not in str(rejected.value)

    def test_rejects_a_link_to_a_hidden_file(self, problem: Problem, task: Task, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(next(path for path in task.hidden.rglob("*") if path.is_file()))
        with pytest.raises(OutputRejected):
            problem.score(task, link)

    def test_pools_in_any_order(self, problem: Problem, tmp_path: Path) -> None:
        scores = self._scores(problem, tmp_path)
        forward, backward = problem.pool(scores), problem.pool(scores[::-1])
        assert_sound_estimate(forward, len(scores))
        assert set(forward.by_domain) == set(problem.climbed_domains)
        assert backward.mean == pytest.approx(forward.mean)
        assert backward.standard_error == pytest.approx(forward.standard_error)

    def test_refuses_to_pool_nothing(self, problem: Problem) -> None:
        with pytest.raises(ProblemError):
            problem.pool([])

    def test_brief_states_the_contract(self, problem: Problem) -> None:
        brief = problem.brief()
        for needed in ("run.py", "--data", "--seed", "--out", "method.yaml", problem.metric.name):
            assert needed in brief, f"the brief does not mention {needed}"

    def test_directions_are_distinct(self, problem: Problem) -> None:
        directions = yaml.safe_load(problem.directions().read_text(encoding="utf-8"))
        assert len({entry["key"] for entry in directions}) == len(directions) >= 1
        assert len({entry["text"] for entry in directions}) == len(directions)

    def test_lab_imports_nothing_of_aar(self, problem: Problem) -> None:
        assert problem.lab().is_dir()
        for source in problem.lab().rglob("*.py"):
            names = _imported(ast.parse(source.read_text(encoding="utf-8")))
            assert not [name for name in names if name.split(".")[0] == "aar"], source

    def _scores(self, problem: Problem, folder: Path) -> list[tuple[Task, TaskScore]]:
        baseline = problem.baselines()[0]
        scores: list[tuple[Task, TaskScore]] = []
        for domain in problem.climbed_domains:
            for seed in range(2):
                task = problem.prepare(domain, Stage.MEASURE, seed, folder / f"{domain}{seed}")
                out = folder / f"{domain}{seed}.out"
                run_baseline(problem, baseline, task, out, seed)
                scores.append((task, problem.score(task, out)))
        return scores


def assert_sound_estimate(estimate: Estimate, tasks: int) -> None:
    """Assert that an estimate is valid: finite, ordered, and built from so many tasks."""
    assert estimate.low <= estimate.mean <= estimate.high
    assert 0 <= estimate.standard_error < float("inf")
    assert estimate.tasks == tasks


def _imported(tree: ast.AST) -> Sequence[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return names


class SupervisedSuite:
    """Tests of ``corrupt``, which the audits with corrupted labels rely on.

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


class ReframedSuite:
    """Tests of ``change_coordinates``, which the coordinates audit relies on.

    Use it beside ``ProblemSuite``::

        class TestOurCoordinates(ReframedSuite):
            @pytest.fixture
            def problem(self) -> ReframedProblem:
                return find_problem("./our_problem")

    It runs baselines on this machine, outside any sandbox: only run it on baselines that you trust.
    """

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
