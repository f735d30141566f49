"""Problems are found by name and by path, and a broken one says what is wrong with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aar.errors import NotFound, ProblemError
from aar.problems.protocol import Problem
from aar.problems.registry import find_problem, installed_problems


def test_lists_what_is_installed() -> None:
    assert {"toy", "weak_to_strong"} <= {problem.name for problem in installed_problems()}


def test_finds_by_name() -> None:
    assert isinstance(find_problem("toy"), Problem)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(NotFound) as caught:
        find_problem("weak-to-strong")
    assert "Did you mean 'weak_to_strong'?" in str(caught.value)
    assert "toy" in str(caught.value)


def test_unlike_name_lists_what_there_is() -> None:
    with pytest.raises(NotFound) as caught:
        find_problem("zzz")
    assert "Did you mean" not in str(caught.value)
    assert "Installed: " in str(caught.value)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all"])
def test_path_without_a_problem(name: str) -> None:
    with pytest.raises(NotFound, match=r"no problem\.py"):
        find_problem(name)


def test_folder_with_relative_imports(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("WORD = 'from beside'\n")
    (tmp_path / "problem.py").write_text(
        "from aar.problems.toy.problem import Toy\nfrom .helper import WORD\n\n\n"
        "class Mine(Toy):\n    name = 'mine'\n    title = WORD\n"
    )
    assert find_problem(tmp_path).title == "from beside"
    assert find_problem(str(tmp_path) + "/").title == "from beside"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nothing_of_that_name\n", "ModuleNotFoundError"),
        ("class Broken(\n", "SyntaxError"),
        ("X = 1\n", "found: none"),
        ("class A:\n    prepare = score = None\n\nclass B:\n    prepare = score = None\n", "found: A, B"),
        ("class A:\n    prepare = score = None\n", "it lacks"),
        (
            "class A:\n    prepare = score = None\n    def __init__(self):\n        raise ValueError('no data')\n",
            "no data",
        ),
    ],
)
def test_broken_folder_names_the_cause(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "problem.py").write_text(source)
    with pytest.raises(ProblemError) as caught:
        find_problem(tmp_path)
    assert said in str(caught.value)
    assert "problem.py" in str(caught.value)


def test_what_a_problem_does_to_the_process_does_not_outlast_its_import(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "problem.py").write_text(
        "import os, signal\nfrom aar.problems.toy.problem import Toy\n\nprint('loading')\nos.chdir('/')\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\n\nclass Mine(Toy):\n    def __init__(self):\n"
        "        print('making')\n"
    )
    before = signal.getsignal(signal.SIGTERM)
    assert find_problem(".").title
    assert capsys.readouterr() == ("", "loading\nmaking\n")  # what is printed as JSON stays JSON
    assert Path.cwd() == tmp_path
    assert signal.getsignal(signal.SIGTERM) is before


def test_registry_is_light_to_import() -> None:
    code = "import sys, aar.problems.registry as r; r.installed_problems(); "
    code += "print([m for m in sys.modules if m in sys.argv[1:]])"
    heavy = ["numpy", "scipy", "sklearn", "yaml", "torch"]
    ran = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
