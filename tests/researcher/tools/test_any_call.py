"""Whatever lies in a workspace and whatever a model writes: every call gets an answer, and no tool ends its researcher.

``AAR_TOOL_EXAMPLES=2000`` looks further, each time elsewhere.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shlex
import uuid
from decimal import Decimal
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from aar.errors import DatabaseError
from aar.events import MessageAdded, TurnReceived
from aar.researcher.context import StopRequested
from aar.researcher.context_management import limit_context
from aar.researcher.conversation import open_conversation_log
from aar.researcher.loop import run_researcher
from aar.researcher.tools.definitions import EDITOR, ToolResult, ToolRun
from aar.researcher.tools.executor import TOOLS, answer_interrupted_calls, execute_calls

from ...messages_server import Turn, call
from ..conftest import CAMPAIGN, House
from .conftest import Bench

pytestmark = pytest.mark.anyio

_MORE = int(os.environ.get("AAR_TOOL_EXAMPLES", "0"))
_NAMES = ("a", "b", "methods", ".aar", "NOTEBOOK.md", "run.py", "method.yaml", "plot.png", "ü", "x" * 300)


async def answers(bench: Bench, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    """Have the toolbox answer a turn with these calls, as the loop does; returns the blocks that the model reads."""
    ctx = bench.ctx
    journal = await open_conversation_log(ctx.db, CAMPAIGN, ctx.researcher_id)
    if not journal.conversation.messages:
        await journal.record(MessageAdded(reason="opening", content=[{"type": "text", "text": "go"}]))
    blocks = [{"type": "tool_use", "id": f"t{uuid.uuid4().hex}", **each} for each in calls]
    turn = TurnReceived(
        request_id=uuid.uuid4().hex, model="m", content=blocks, stop_reason="tool_use", output_tokens=1, usd=Decimal(0)
    )
    await journal.record(turn)
    await execute_calls(ctx, journal)
    await journal.flush()
    assert journal.conversation.pending_calls == []
    results = journal.conversation.messages[-1]["content"]
    assert [each["tool_use_id"] for each in results] == [each["id"] for each in blocks]
    return list(results)


async def answer(bench: Bench, tool: str, **given: Any) -> str:
    """The text of one call's answer."""
    result = (await answers(bench, {"name": tool, "input": given}))[0]
    return str(result["content"][0]["text"])


LOOKS = [
    ("echo x > methods", EDITOR, {"command": "view", "path": "methods/m1"}, "Not a directory"),
    ("echo x > methods", EDITOR, {"command": "view", "path": "methods/m1/"}, "Not a directory"),
    (
        "echo x > methods",
        EDITOR,
        {"command": "create", "path": "methods/m1", "file_text": "x"},
        "(File e|Not a d)",
    ),
    ("echo x > methods", EDITOR, {"command": "str_replace", "path": "methods/m", "old_str": "x"}, "Not a directory"),
    ("ln -s loop loop", EDITOR, {"command": "view", "path": "loop"}, "Too many levels of symbolic links"),
    ("ln -s loop loop", EDITOR, {"command": "create", "path": "loop", "file_text": "x"}, "Too many levels"),
    ("true", EDITOR, {"command": "view", "path": "n" * 300}, "File name too long"),
    ("ln -s loop loop", "submit_method", {"path": "loop"}, "Too many levels"),
    ("true", "submit_method", {"path": "n" * 300}, "File name too long"),
    (
        "mkdir m; echo x > m/run.py; chmod 0 m/run.py",
        "submit_method",
        {"path": "m"},
        "Permission denied",
    ),
    ("mkdir m; chmod 0 m", "submit_method", {"path": "m"}, "Permission denied"),
    (
        "touch .aar",
        "bash",
        {"command": "seq 100000"},
        "the complete text could not be stored in .*(File exists|Not a directory)",
    ),
    ("true", "bash", {"command": "echo a\0b"}, "the command contains a NUL character"),
    ("true", "start_job", {"command": "echo a\0b"}, "the command contains a NUL character"),
    ("true", EDITOR, {"command": "view", "path": "a\0b"}, "the path contains a NUL character"),
    ("ln -s loop loop", "fetch_snapshot", {"snapshot": "s1", "into": "loop/x"}, "no submission"),
]


@pytest.mark.bubblewrap
@pytest.mark.parametrize(("before", "tool", "given", "told"), LOOKS)
async def test_the_kernel_words_are_the_answer(
    bench: Bench, before: str, tool: str, given: dict[str, Any], told: str
) -> None:
    await answer(bench, "bash", command=before)
    said = await answer(bench, tool, **given)
    assert re.search(told, said), said
    assert str(bench.house.folder) not in said


@pytest.mark.bubblewrap
async def test_a_notebook_that_cannot_be_read_ends_no_hand_over(bench: Bench) -> None:
    await answer(bench, "bash", command="ln -s NOTEBOOK.md NOTEBOOK.md")
    journal = await open_conversation_log(bench.ctx.db, CAMPAIGN, bench.ctx.researcher_id)
    await limit_context(bench.ctx, journal, now="too long for the model")
    assert "(it cannot be read: Too many levels of symbolic links)" in str(journal.conversation.messages)


_path = st.lists(st.sampled_from((*_NAMES, ".", "..", "")), min_size=1, max_size=4).map("/".join)
_where = st.one_of(_path, _path.map("/workspace/".__add__), _path.map("/".__add__), st.text(max_size=20))
_text = st.one_of(st.text(max_size=50), st.sampled_from(["x\n" * 20_000, "\0", "\ud83d", "title: x\nclaim: y\n", ""]))
_number = st.one_of(st.integers(-3, 10), st.floats(0.01, 0.05), st.sampled_from([2**70, float("inf"), None, "1"]))
_value = st.one_of(_where, _text, _number, st.lists(_number, max_size=2), st.just({}))
_FIELDS = {
    "bash": {"command": st.one_of(_text, st.sampled_from(["seq 50000", "cat /dev/zero | head -c 99999", "exit 3"]))},
    EDITOR: {
        "command": st.sampled_from(["view", "create", "str_replace", "insert", "undo"]),
        "path": _where,
        "file_text": _text,
        "old_str": _text,
        "new_str": _text,
        "insert_line": _number,
        "insert_text": _text,
        "view_range": st.lists(_number, min_size=2, max_size=2),
    },
    "start_job": {"command": _text},
    "job_output": {"job": st.one_of(_text, st.just("j1"))},
    "stop_job": {"job": st.one_of(_text, st.just("j1"))},
    "wait": {"for": st.sampled_from(["job", "time", "submission"]), "id": _text, "timeout_seconds": st.just(0.01)},
    "submit_method": {"path": _where},
    "fetch_snapshot": {"snapshot": st.one_of(_text, st.just("s1")), "into": _where},
    "leaderboard": {"limit": _number},
    "post": {"kind": st.just("insight"), "title": _text, "body": st.one_of(_text, _where.map("![a]({})".format))},
    "comment": {"post": st.just(1), "body": st.one_of(_text, _where.map("![a]({})".format))},
    "vote": {"post": _number, "value": st.just(1)},
    "edit_post": {"post": _number, "body": _text, "title": _text},
    "claim": {"topic": _text},
    "budget": {},
    "no_such_tool": {"x": _value},
}
_calls = st.sampled_from(sorted(_FIELDS)).flatmap(
    lambda name: st.builds(
        lambda fields, odd: {"name": name, "input": {**fields, **odd} if name != "finish" else fields},
        st.fixed_dictionaries({}, optional=_FIELDS[name]),
        st.dictionaries(st.sampled_from(["path", "command", "x"]), _value, max_size=1) | st.just({}),
    )
)
_steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "mkdir -p {0}",
                "echo {0} > {0}",
                "ln -sfn {1} {0}",
                "mkfifo {0}",
                "chmod 0 {0}",
                "rm -rf {0}",
                "cp -r {0} {1}",
            ]
        ),
        st.sampled_from(_NAMES),
        _path,
    ),
    max_size=4,
)
_plain = settings(max_examples=20, derandomize=True) if not _MORE else settings(max_examples=_MORE)


@pytest.mark.bubblewrap
@settings(_plain, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(steps=_steps, calls=st.lists(_calls, min_size=1, max_size=4))
async def test_every_call_is_answered(
    bench: Bench, steps: list[tuple[str, str, str]], calls: list[dict[str, Any]]
) -> None:
    sandbox = await bench.ctx.sandbox.current()
    lines = [line.format(shlex.quote(first), shlex.quote(second)) for line, first, second in steps]
    await sandbox.exec("\n".join(["cd /workspace", *lines]), timeout=20, output_limit=1000)
    for result in await answers(bench, *calls):
        text = result["content"][0]["text"]
        assert text
        assert "\0" not in text
        text.encode()
        assert str(bench.house.folder) not in text


class Broken(Exception):
    """As nobody foresaw it."""


async def _breaks(run: ToolRun, given: Any) -> ToolResult:
    raise Broken(f"at {run.ctx.snapshots}")


async def test_an_error_that_nobody_foresaw_is_an_answer_and_logged(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOOLS, "budget", _breaks)  # type: ignore[arg-type]
    house.server.by_turn(Turn([call(1, "budget")]), Turn([call(2, "finish", summary="ok")]))
    structlog.reset_defaults()
    with capture_logs() as logged:
        assert (await run_researcher(await house.context())).reason == "finished"
    result = house.server.requests[1]["messages"][-1]["content"][0]
    assert result["is_error"] is True
    assert result["content"][0]["text"].startswith("This call broke the tool (Broken).")
    assert [each["tool"] for each in logged if each["event"] == "a tool broke"] == ["budget"]


@pytest.mark.parametrize(
    "error", [StopRequested(), DatabaseError("locked"), OSError(errno.EMFILE, "Too many open files")]
)
async def test_what_passes_by_itself_is_left_to_those_who_wait_for_it(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def raises(run: ToolRun, given: Any) -> ToolResult:
        raise error

    monkeypatch.setitem(TOOLS, "budget", raises)  # type: ignore[arg-type]
    house.server.by_turn(Turn([call(1, "budget")]))
    if isinstance(error, StopRequested):
        assert (await run_researcher(await house.context())).reason == "paused"
    else:
        with pytest.raises(type(error)):
            await run_researcher(await house.context())


async def test_a_call_that_ended_the_loop_is_answered_and_not_run_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []

    async def ends_the_loop(run: ToolRun, given: Any) -> ToolResult:
        runs.append(run.key)
        raise OSError(errno.EMFILE, "x")

    monkeypatch.setitem(TOOLS, "budget", ends_the_loop)  # type: ignore[arg-type]
    house.server.by_turn(Turn([call(1, "budget"), call(2, "leaderboard")]), Turn([call(3, "finish", summary="ok")]))
    ctx = await house.context()
    with pytest.raises(OSError, match="x"):
        await run_researcher(ctx)
    await answer_interrupted_calls(ctx, "RecursionError")
    assert (await asyncio.wait_for(run_researcher(ctx), 20)).reason == "finished"
    assert len(runs) == 1
    first, second = house.server.requests[1]["messages"][-1]["content"]
    assert first["content"][0]["text"].startswith("This call broke the tool (RecursionError).")
    assert second["content"][0]["text"].startswith("rank")
