import asyncio
import os
from pathlib import Path

import pytest

from aar.sandbox.choose import availability

from .conftest import Terminal


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


def test_validate(empty: Terminal) -> None:
    assert empty.json("problem", "validate", "toy") == {"problem": "toy", "sound": True, "flaws": []}


@pytest.mark.bubblewrap
def test_baselines_are_measured_in_the_clean_room(empty: Terminal) -> None:
    state = asyncio.run(availability())["bubblewrap"]
    if not state.ok:
        if os.environ.get("CI"):
            pytest.fail(f"bubblewrap must work in CI: {state.detail}")
        pytest.skip(state.detail)
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
