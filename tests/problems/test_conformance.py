"""The shipped problems keep what a problem promises."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from aar.problems import toy
from aar.problems.protocol import Problem, ReframedProblem, SupervisedProblem, Task
from aar.problems.registry import find_problem
from aar.problems.weak_to_strong import WeakToStrong
from aar.testing.conformance.problem_suite import ProblemSuite, ReframedSuite, SupervisedSuite, folder_bytes
from aar.testing.principal_axes import PrincipalAxes


class TestToy(ProblemSuite):
    @pytest.fixture
    def problem(self) -> Problem:
        return find_problem("toy")


class TestToyByPath(ProblemSuite):
    """A copy of the folder, as a person would make one, is a problem of its own."""

    @pytest.fixture
    def problem(self, tmp_path_factory: pytest.TempPathFactory) -> Problem:
        folder = tmp_path_factory.mktemp("mine") / "curves"
        shutil.copytree(Path(toy.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
        found = find_problem(folder)
        assert found.brief()
        assert found.lab().is_relative_to(folder)
        return found


class TestWeakToStrong(ProblemSuite):
    @pytest.fixture
    def problem(self) -> Problem:
        return find_problem("weak_to_strong")


class TestToysTeacher(SupervisedSuite):
    @pytest.fixture
    def problem(self) -> SupervisedProblem:
        return _with_a_teacher("toy")

    def read(self, public: Path) -> tuple[Sequence[float], object]:
        points = json.loads((public / "points.json").read_text(encoding="utf-8"))
        return points.pop("y"), points


class TestWeakToStrongsTeacher(SupervisedSuite):
    @pytest.fixture
    def problem(self) -> SupervisedProblem:
        return _with_a_teacher("weak_to_strong")

    def read(self, public: Path) -> tuple[Sequence[float], object]:
        files = folder_bytes(public)
        del files["weak.npy"]
        weak: list[float] = np.load(public / "weak.npy").tolist()
        return weak, files


class TestWeakToStrongsCoordinates(ReframedSuite):
    @pytest.fixture
    def problem(self) -> ReframedProblem:
        return WeakToStrong()


class TestOneSetOfCoordinatesForAllSplits(ReframedSuite):
    @pytest.fixture
    def problem(self) -> ReframedProblem:
        return PrincipalAxes()

    def test_another_seed_draws_others(self, problem: ReframedProblem, task: Task, tmp_path: Path) -> None:
        other = problem.prepare(task.domain, task.stage, task.split_seed, tmp_path / "other")
        problem.change_coordinates(task, 1)
        problem.change_coordinates(other, 2)
        assert folder_bytes(task.public) != folder_bytes(other.public)


def _with_a_teacher(name: str) -> SupervisedProblem:
    found = find_problem(name)
    assert isinstance(found, SupervisedProblem)
    return found
