"""The shipped problems keep what a problem promises."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aar.problems import toy
from aar.problems.protocol import Problem
from aar.problems.registry import find
from aar.testing.problem_suite import ProblemSuite


class TestToy(ProblemSuite):
    @pytest.fixture
    def problem(self) -> Problem:
        return find("toy")


class TestToyByPath(ProblemSuite):
    """A copy of the folder, as a person would make one, is a problem of its own."""

    @pytest.fixture
    def problem(self, tmp_path_factory: pytest.TempPathFactory) -> Problem:
        folder = tmp_path_factory.mktemp("mine") / "curves"
        shutil.copytree(Path(toy.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
        found = find(folder)
        assert found.brief()
        assert found.lab().is_relative_to(folder)
        return found


class TestWeakToStrong(ProblemSuite):
    @pytest.fixture
    def problem(self) -> Problem:
        return find("weak_to_strong")
