"""Calls of a problem's own code: what hangs, exits, raises or answers with rubbish is one error with its place."""

from __future__ import annotations

import math
import os
import shutil
import time
from pathlib import Path

import anyio
import pytest

import aar.problems.toy
from aar.errors import DataMissing, PluginFailed, ProblemError
from aar.problems.plugin_calls import call_plugin, call_plugin_sync, pool_scores, probe_problem, read_brief
from aar.problems.protocol import OutputRejected, Problem, Stage, Task, TaskScore
from aar.problems.registry import find_problem, origin_of

pytestmark = pytest.mark.anyio
GONE = Path("/nonexistent")
TASK = Task("line", Stage.MEASURE, 1, GONE, GONE)
METHODS = """
import os as _os, time as _time
from dataclasses import replace as _replace
from decimal import Decimal as _Decimal
from aar.problems.protocol import CallLimits as _Limits
Toy.call_limits = _Limits(seconds=%s, memory_bytes=300 * 1024**2)


class _Own(float):
    pass


class _Wordless(Exception):
    def __str__(self):
        raise RuntimeError("the hidden word")


def _score(self, task, output):
    match task.domain:
        case "hang": _time.sleep(600)
        case "exit": raise SystemExit(3)
        case "end": _os._exit(3)
        case "raise": return {}["the hidden word"]
        case "rubbish": return 0.5
        case "memory": return bytearray(1024**3)
        case "refuse": raise OutputRejected("not a number")
        case "bytes": raise OutputRejected("line 3: caf\\udce9\\0")
        case "kinds": return TaskScore({"explained": _Decimal("0.5"), "it\\udce9ms": 200, "none": None})
        case "data": raise DataMissing("a file is absent", "Copy it")
        case "wordless": raise _Wordless
        case "half": raise OutputRejected("half \\ud800 and \\0 nothing")
        case "unsendable": return TaskScore({"explained": lambda: 1.0, "items": _Own(2)})
        case "left": _os._exit(0) if _os.fork() else _time.sleep(60)
        case "twice": return TaskScore({"copy": 0.0} if _os.fork() and not _time.sleep(0.5) else {"copy": 1.0})
    return TaskScore({"explained": float(_os.getpid()), "items": 200.0})


Toy.score = _score
"""


def toy_with(folder: Path, appended: str) -> Problem:
    """A copy of the small problem with code of its own at the end."""
    shutil.copytree(Path(aar.problems.toy.__file__).parent, folder)
    source = folder / "problem.py"
    source.write_text(source.read_text() + appended)
    return find_problem(folder)


@pytest.fixture
def problem(tmp_path: Path) -> Problem:
    return toy_with(tmp_path / "mine", METHODS % 5)


def task(domain: str) -> Task:
    return Task(domain, Stage.MEASURE, 1, GONE, GONE)


@pytest.mark.parametrize(
    ("domain", "said", "cause"),
    [
        ("exit", r"score raised SystemExit \(problem\.py:\d+\)", "raised"),
        ("end", "score ended its process", "died"),
        ("raise", r"score raised KeyError \(problem\.py:\d+\)", "raised"),
        ("rubbish", "score returned a float, expected a TaskScore", "answer"),
        ("memory", "score took more than 300 MiB of memory", "memory"),
        ("wordless", r"score raised _Wordless \(problem\.py:\d+\)", "raised"),
        ("left", "score ended its process", "died"),
    ],
)
async def test_what_goes_wrong_is_one_error_and_the_next_call_is_served(
    problem: Problem, domain: str, said: str, cause: str
) -> None:
    with pytest.raises(PluginFailed, match=said) as caught:
        await call_plugin(problem, "score", task(domain), GONE)
    assert caught.value.cause == cause
    assert "hidden word" not in str(caught.value)  # the problem's own words are for its author alone
    found = await call_plugin(problem, "score", TASK, GONE)
    assert isinstance(found, TaskScore)
    assert found.parts["explained"] != os.getpid()


async def test_an_answer_is_plain_numbers_and_texts_whatever_it_was_made_of(problem: Problem) -> None:
    found = (await call_plugin(problem, "score", task("unsendable"), GONE)).parts
    assert math.isnan(found["explained"])
    assert type(found["items"]) is float
    with pytest.raises(OutputRejected) as caught:
        await call_plugin(problem, "score", task("half"), GONE)
    assert str(caught.value) == "half \ufffd and \ufffd nothing"


async def test_a_copy_that_a_call_makes_of_its_process_answers_nothing(problem: Problem) -> None:
    assert (await call_plugin(problem, "score", task("twice"), GONE)).parts == {"copy": 0.0}
    assert "items" in (await call_plugin(problem, "score", TASK, GONE)).parts


async def test_a_call_that_hangs_is_stopped(tmp_path: Path) -> None:
    problem = toy_with(tmp_path / "mine", METHODS % 1)
    with pytest.raises(PluginFailed, match="score took longer than 1 s"):
        await call_plugin(problem, "score", task("hang"), GONE)
    assert (await call_plugin(problem, "score", TASK, GONE)).parts["items"] == 200


async def test_a_call_that_hangs_can_be_cancelled(tmp_path: Path) -> None:
    problem = toy_with(tmp_path / "mine", METHODS % 600)
    begun = time.monotonic()
    with anyio.move_on_after(1) as scope:
        await call_plugin(problem, "score", task("hang"), GONE)
    assert scope.cancelled_caught
    assert time.monotonic() - begun < 60


async def test_what_a_problem_says_on_purpose_comes_through(problem: Problem) -> None:
    with pytest.raises(OutputRejected, match="not a number"):
        await call_plugin(problem, "score", task("refuse"), GONE)
    with pytest.raises(DataMissing, match="a file is absent"):
        await call_plugin(problem, "score", task("data"), GONE)


async def test_what_it_quotes_and_counts_can_be_stored(problem: Problem) -> None:
    with pytest.raises(OutputRejected) as caught:
        await call_plugin(problem, "score", task("bytes"), GONE)
    assert str(caught.value) == "line 3: caf\ufffd\ufffd"
    parts = (await call_plugin(problem, "score", task("kinds"), GONE)).parts
    assert {name: type(part) for name, part in parts.items()} == dict.fromkeys(
        ["explained", "it\ufffdms", "none"], float
    )
    assert (parts["explained"], math.isnan(parts["none"])) == (0.5, True)


@pytest.mark.parametrize(
    ("pooled", "said"),
    [
        ("_replace(sound, mean=_Decimal('0.5'), standard_error=_Decimal(0))", ""),
        ("_replace(sound, mean=None)", "pooled mean is not a number: got nan"),
        ("_replace(sound, by_domain={'line': 0.5})", "pool returned a float, expected an Estimate"),
        ("_replace(sound, by_domain=None)", "pool returned a NoneType, expected a mapping of domains"),
        (
            "_replace(sound, by_domain={'line': _replace(sound, low=float('inf'))})",
            "pooled low of line is not a number",
        ),
        ("_replace(sound, tasks='many')", r"pool raised ValueError \(plugin_calls\.py"),
        ("_nested(sound, 5)", "expected a part at most 4 levels deep"),
        ("0.5", "pool returned a float, expected an Estimate"),
    ],
)
async def test_what_it_pools_is_made_of_plain_numbers(tmp_path: Path, pooled: str, said: str) -> None:
    code = f"""
from dataclasses import replace as _replace
from decimal import Decimal as _Decimal
_pool = Toy.pool

def _nested(sound, levels):
    return _replace(sound, by_domain={{"a": _nested(sound, levels - 1)}}) if levels else sound

def _odd(self, scores):
    sound = _pool(self, scores)
    return {pooled}

Toy.pool = _odd
"""
    problem = toy_with(tmp_path / "mine", code)
    scores = [(task("line"), TaskScore({"explained": each, "items": 200.0})) for each in (0.25, 0.75)]
    if said:
        with pytest.raises(ProblemError, match=said):
            await pool_scores(problem, scores)
    else:
        assert type((await pool_scores(problem, scores)).mean) is float


async def test_it_sees_where_data_lies_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_DATA_FOLDER", "/data")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-api03-of-the-test")
    code = "\nimport os\nToy.brief = lambda self: ' '.join(sorted(os.environ))\n"
    from aar.problems import plugin_calls

    plugin_calls.PROCESSES.close()
    names = call_plugin_sync(toy_with(tmp_path / "mine", code), "brief").split()
    assert "MY_DATA_FOLDER" in names
    assert "ANTHROPIC_API_KEY" not in names


async def test_a_problem_that_was_changed_here_is_called_here(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = find_problem("toy")
    assert origin_of(problem) is not None
    monkeypatch.setattr(problem, "score", lambda task, output: TaskScore({"pid": os.getpid()}))
    assert origin_of(problem) is None
    assert (await call_plugin(problem, "score", TASK, GONE)).parts == {"pid": os.getpid()}
    with pytest.raises(ProblemError):
        await pool_scores(problem, [])


def test_a_brief_is_there_and_not_empty(tmp_path: Path) -> None:
    problem = toy_with(tmp_path / "mine", "")
    (tmp_path / "mine" / "brief.md").write_text("\n")
    with pytest.raises(ProblemError, match="brief of problem toy is empty"):
        read_brief(problem)
    (tmp_path / "mine" / "brief.md").unlink()
    with pytest.raises(PluginFailed, match=r"brief raised FileNotFoundError \(problem\.py:\d+\)"):
        read_brief(problem)
    (tmp_path / "mine" / "brief.md").write_text("Fit it.")
    assert read_brief(problem) == "Fit it."


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import time\ntime.sleep(600)\n", "importing it took longer than 2 s"),
        ("import os\nos._exit(0)\n", "importing it ended its process"),
        ("raise SystemExit(3)\n", r"SystemExit: 3 \(problem\.py:1\)"),
        ("x = 1\nclass Broken(\n", r"SyntaxError: .*problem\.py:2\)"),
        ("x = 1\nx.y\n", r"AttributeError: .*\(problem\.py:2\)"),
    ],
)
async def test_a_problem_that_cannot_be_loaded_is_told_with_its_place(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "problem.py").write_text(source)
    with pytest.raises(ProblemError, match=said):
        await probe_problem(str(tmp_path), seconds=2)
