import json
import shutil
from pathlib import Path

import pytest

import aar.problems.toy

from ..conftest import Terminal


def test_list_and_show(empty: Terminal) -> None:
    assert {"toy", "weak_to_strong"} <= {each["name"] for each in empty.json("problem", "list")}
    said = empty.ok("problem", "show")
    for part in ("PGR, higher is better", "people reached 0.23", "movie, sarcasm", "baseline   vanilla:", "run.py"):
        assert part in said
    shown = empty.json("problem", "show", "toy")
    assert shown["name"] == "toy"
    assert shown["baselines"]
    assert "brief" in shown


def test_a_problem_by_its_folder(empty: Terminal) -> None:
    import aar.problems.toy

    folder = Path(aar.problems.toy.__file__).parent
    if not (folder / "problem.py").exists():
        pytest.skip("the toy problem is no folder with problem.py")
    assert empty.json("problem", "show", str(folder))["name"] == "toy"


def test_fetch_says_that_the_data_is_there(empty: Terminal) -> None:
    assert empty.ok("problem", "fetch").strip() == "the data of weak_to_strong is complete"
    assert empty.json("problem", "fetch", "toy") == {"problem": "toy", "data": "complete"}


@pytest.mark.bubblewrap
def test_validate(empty: Terminal) -> None:
    found = empty.json("problem", "validate", "toy", "--sandbox", "bubblewrap")
    assert found == {"problem": "toy", "sound": True, "flaws": []}


def flaws_of(terminal: Terminal, folder: Path, appended: str) -> list[str]:
    """What is found in a copy of the small problem with code of its own at the end."""
    if not folder.exists():
        shutil.copytree(Path(aar.problems.toy.__file__).parent, folder)
    source = folder / "problem.py"
    source.write_text(source.read_text() + appended)
    result = terminal.run("problem", "validate", str(folder), "--sandbox", "bubblewrap", "--json")
    assert result.exit_code == 1
    return list(json.loads(result.stdout)["flaws"])


@pytest.mark.bubblewrap
def test_validate_reads_brief_and_directions_and_prepares_every_split_twice(empty: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(Path(aar.problems.toy.__file__).parent, folder)
    (folder / "brief.md").unlink()
    (folder / "directions.yaml").write_text("- {key: a, text: One way., key: b}\n")
    found = flaws_of(
        empty,
        folder,
        """
_sound = Toy.prepare
def _unstable(self, domain, stage, split_seed, into):
    task = _sound(self, domain, stage, split_seed, into)
    if domain == "wave" and stage == "confirm":
        (task.public / "order.txt").write_text(" ".join({f"item {n}" for n in range(50)}))
    if stage == "transfer":
        raise ValueError("no curve left")
    return task
Toy.prepare = _unstable
Toy.validate = lambda self: 1 / 0
""",
    )
    brief, directions, unstable, transfer, own = found
    assert brief.startswith("problem toy: brief raised FileNotFoundError (problem.py:")
    assert directions.endswith("line 1: key is written twice: got it on line 1 too, expected it once")
    assert unstable.startswith("prepare of wave, confirm, gives different bytes in another process: public/order.txt.")
    assert transfer.startswith("problem toy: prepare raised ValueError (problem.py:")
    assert transfer.endswith("): no curve left")
    assert own.startswith("problem toy: validate raised ZeroDivisionError (problem.py:")


@pytest.mark.bubblewrap
def test_validate_asks_for_folders_and_lists_where_nothing_can_hang_on_it(empty: Terminal, tmp_path: Path) -> None:
    code = """
print("said while it is imported")
Toy.lab, Toy.sandbox_packages, Toy.baselines = lambda self: None, lambda self: "numpy", lambda self: 1 / 0
Toy.directions = lambda self: os._exit(0)
import os
"""
    directions, lab, packages, baselines = flaws_of(empty, tmp_path / "mine", code)
    assert directions == "problem toy: directions ended its process"
    assert lab == "problem toy: lab returned a NoneType, expected a Path"
    assert packages == "problem toy: sandbox_packages returned a str, expected a list"
    assert baselines.startswith("problem toy: baselines raised ZeroDivisionError (problem.py:")


@pytest.mark.bubblewrap
def test_validate_grades_at_the_small_size(empty: Terminal, tmp_path: Path) -> None:
    found = flaws_of(
        empty,
        tmp_path / "mine",
        """
_sound = Toy.score
def _score(self, task, output):
    if not getattr(self, "is_small", False):
        raise AssertionError("the whole size was run")
    if task.domain == "wave":
        return 1 / 0
    return _sound(self, task, output)
def _small(self):
    made = Toy()
    made.is_small = True
    return made
Toy.score, Toy.small = _score, _small
""",
    )
    assert [each.split(": ")[0] for each in found] == ["baseline overall_mean", "baseline nearest_points"]
    assert all("score raised ZeroDivisionError (problem.py:" in each for each in found)


@pytest.mark.bubblewrap
def test_validate_pools_to_finite_numbers(empty: Terminal, tmp_path: Path) -> None:
    code = "\nToy.pool = lambda self, scores: Estimate(float('nan'), 0.1, 0.0, 1.0, len(scores))\n"
    assert flaws_of(empty, tmp_path / "mine", code) == ["pooled mean is not a number: got nan, expected a finite one"]


def test_validate_of_what_exits_as_it_is_loaded(empty: Terminal, tmp_path: Path) -> None:
    (tmp_path / "problem.py").write_text("import os\nos._exit(0)\n")
    result = empty.run("problem", "validate", str(tmp_path))
    assert result.exit_code == 1
    assert "cannot be loaded: importing it ended its process" in result.stderr


@pytest.mark.bubblewrap
def test_baselines_are_measured_in_the_clean_room(empty: Terminal) -> None:
    key = empty.json("problem", "show", "toy")["baselines"][0]["key"]
    arguments = ("problem", "baselines", "toy", "-b", key, "--seeds", "2", "--sandbox", "bubblewrap")
    [result] = empty.json(*arguments)
    assert result["key"] == key
    assert result["estimate"]["standard_error"] >= 0
    said = empty.ok(*arguments)
    assert key in said
    assert f"{result['estimate']['mean']:.2f}" in said


def test_baselines_by_a_wrong_name(empty: Terminal) -> None:
    result = empty.run("problem", "baselines", "toy", "-b", "vanila", "--sandbox", "bubblewrap")
    assert result.exit_code == 2
    assert "vanila" in result.stderr
