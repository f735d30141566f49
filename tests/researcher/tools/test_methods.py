"""Handing methods in, fetching frozen code, and the board."""

from __future__ import annotations

import pytest

from aar.errors import LimitReached, NotFound, UsageError
from aar.store.models import Submission

from .conftest import Bench

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

MANIFEST = "title: Mean of two\nclaim: Averages help.\nfamilies: [ensemble]\n"


async def write_method(bench: Bench, name: str = "method", extra: str = "") -> None:
    await bench.text("bash", command=f"cd /workspace; mkdir -p {name}; echo 'print(1) # {name}' > {name}/run.py")
    await bench.text(
        "str_replace_based_edit_tool", command="create", path=f"{name}/method.yaml", file_text=MANIFEST + extra
    )


async def test_a_method_is_frozen_and_fetched_by_number_and_digest(bench: Bench) -> None:
    await write_method(bench)
    text = await bench.text("submit_method", path="/workspace/method")
    first = text.splitlines()[0]
    assert first.startswith("Submission s1 received, snapshot ")
    digest = first.split()[-1].rstrip(".")
    await bench.text("bash", command="echo 'print(2)' > method/run.py")
    fetched = await bench.text("fetch_snapshot", snapshot="s1")
    assert fetched.splitlines() == [f"Snapshot {digest} written to /workspace/fetched/s1:", "method.yaml", "run.py"]
    assert await bench.text("bash", command="cat fetched/s1/run.py") == "print(1) # method"
    await bench.text("bash", command="cd fetched/s1 && echo mine >> run.py")
    assert "/workspace/mine:" in await bench.text("fetch_snapshot", snapshot=digest, into="mine")


async def test_a_call_repeated_after_a_crash_hands_in_once(bench: Bench) -> None:
    await write_method(bench)
    first = await bench.use("submit_method", key="k", path="method")
    again = await bench.use("submit_method", key="k", repeated=True, path="method")
    assert first == again
    with bench.ctx.db.reading() as session:
        assert session.query(Submission).count() == 1


async def test_parent_by_number(bench: Bench) -> None:
    await write_method(bench)
    await bench.text("submit_method", path="method")
    await write_method(bench, "second")
    await bench.text("submit_method", path="second", parent="s1")
    with bench.ctx.db.reading() as session:
        one, two = session.query(Submission).order_by(Submission.number)
        assert two.parent == one.digest
    with pytest.raises(NotFound):
        await bench.use("submit_method", path="second", parent="s77")


async def test_what_is_no_method_is_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="/workspace/none"):
        await bench.use("submit_method", path="none")
    await bench.text("bash", command="mkdir empty")
    with pytest.raises(UsageError, match=r"no run\.py"):
        await bench.use("submit_method", path="empty")
    await write_method(bench)
    await bench.text("bash", command="ln -s /etc/passwd method/link")
    with pytest.raises(UsageError, match="link"):
        await bench.use("submit_method", path="method")


@pytest.mark.parametrize("names", [["d"] * 1500, ["x" * 250] * 24], ids=["1500 levels", "6000 bytes"])
async def test_a_folder_that_nests_too_deep_is_refused_and_nothing_else(bench: Bench, names: list[str]) -> None:
    await write_method(bench)
    nest = f"import os\nfor name in {names!r}:\n    os.mkdir(name)\n    os.chdir(name)\n"
    await bench.text("bash", command=f"cd /workspace/method && python -c \"$(cat <<'END'\n{nest}END\n)\"")
    with pytest.raises(UsageError, match=r"nests deeper than 40 levels: flatten it|name too long"):
        await bench.use("submit_method", path="method")
    await bench.text("bash", command="cd /workspace && rm -rf method")
    await write_method(bench)
    assert "received" in await bench.text("submit_method", path="method")


async def test_a_folder_closed_to_its_owner_is_refused(bench: Bench) -> None:
    await write_method(bench)
    await bench.text("bash", command="mkdir method/closed; chmod 0 method/closed")
    with pytest.raises(UsageError, match="Permission denied"):
        await bench.use("submit_method", path="method")


async def test_quota_holds(bench: Bench) -> None:
    bench.ctx = await bench.house.context(sandbox=bench.keeper, limits={"researcher": {"submissions": 1}})
    await write_method(bench)
    await bench.text("submit_method", path="method")
    await write_method(bench, "second")
    with pytest.raises(LimitReached):
        await bench.use("submit_method", path="second")


async def test_fetching_over_something_or_nothing_is_refused(bench: Bench) -> None:
    await write_method(bench)
    await bench.text("submit_method", path="method")
    with pytest.raises(UsageError, match="exists already"):
        await bench.use("fetch_snapshot", snapshot="s1", into="method")
    with pytest.raises(NotFound):
        await bench.use("fetch_snapshot", snapshot="s9")


async def test_board_is_rounded(bench: Bench) -> None:
    assert "(nothing is measured yet)" in await bench.text("leaderboard")
    await write_method(bench)
    await bench.text("submit_method", path="method")
    with bench.ctx.db.writing() as session:
        submission = session.query(Submission).one()
        submission.state, submission.status = "measured", "measured"
        submission.mean, submission.standard_error = 0.123456, 0.019876
    rows = (await bench.text("leaderboard")).splitlines()
    assert rows[0] == "rank  submission  researcher  PGR  error  status  band  labels  families  title"
    assert rows[1] == "1  s1  r1  0.12  0.02  measured  1  -  ensemble  Mean of two"


async def test_budget_tells_spent_and_left(bench: Bench) -> None:
    bench.ctx = await bench.house.context(sandbox=bench.keeper, limits={"usd": 5, "researcher": {"submissions": 7}})
    text = await bench.text("budget")
    assert text.startswith("spent $0.0000 of $5.00 (campaign)")
    assert "submissions: 0 (campaign), 0 of 7 (you)" in text


async def test_a_lost_sandbox_is_made_anew_and_told(bench: Bench) -> None:
    from aar.researcher.loop import run_researcher

    from ...messages_server import Turn, call

    killed = False

    async def kill_once() -> None:
        nonlocal killed
        if not killed and bench.keeper.sandbox is not None:
            killed = True
            await bench.keeper.sandbox.destroy()

    server = bench.house.server
    server.before_reply = kill_once
    server.by_turn(
        Turn([call(1, "bash", command="echo kept > /workspace/kept")]),
        Turn([call(2, "bash", command="cat /workspace/kept")]),
        Turn([call(3, "bash", command="cat /workspace/kept")]),
        Turn([call(4, "finish", summary="ok")]),
    )
    assert (await run_researcher(bench.ctx)).reason == "finished"
    results = [request["messages"][-1]["content"][0]["content"][0]["text"] for request in server.requests[1:]]
    assert "The sandbox was lost and replaced" in results[1]
    assert results[2] == "kept"
    assert bench.keeper.made == 2
