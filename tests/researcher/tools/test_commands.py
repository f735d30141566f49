"""bash: what a session carries from call to call, and how a command's end is told."""

from __future__ import annotations

import dataclasses

import pytest

from aar.errors import UsageError

from .conftest import Bench

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]


async def test_session_keeps_directory_and_exports_and_forgets_them_on_restart(bench: Bench) -> None:
    assert await bench.text("bash", command="pwd") == "/workspace"
    await bench.text("bash", command="mkdir -p a/b && cd a/b && export COLOUR='deep \"blue\"' && plain=1")
    assert await bench.text("bash", command='pwd; echo "$COLOUR"; echo "[$plain]"') == '/workspace/a/b\ndeep "blue"\n[]'
    assert "restarted" in await bench.text("bash", restart=True)
    assert await bench.text("bash", command='pwd; echo "[$COLOUR]"') == "/workspace\n[]"


async def test_state_is_kept_when_a_command_exits_or_unsets(bench: Bench) -> None:
    assert await bench.text("bash", command="export A=1 B=2; cd /tmp; exit 3") == "[exit code 3]"
    assert await bench.text("bash", command="pwd; echo $A; unset B") == "/tmp\n1"
    assert await bench.text("bash", command='echo "[$B]"') == "[]"


async def test_directory_that_vanished_falls_back_to_the_workspace(bench: Bench) -> None:
    await bench.text("bash", command="mkdir gone && cd gone && rmdir ../gone")
    assert (await bench.text("bash", command="pwd")).splitlines()[-1] == "/workspace"


async def test_odd_commands(bench: Bench) -> None:
    assert await bench.text("bash", command="cat <<'X'\na $b `c` 'd'\nX") == "a $b `c` 'd'"
    assert await bench.text("bash", command="true") == "(no output)"
    assert (await bench.text("bash", command="if then")).endswith(
        "[exit code 1]"
    ) or "syntax error" in await bench.text("bash", command="if then")
    assert await bench.text("bash", command="echo one; false") == "one\n[exit code 1]"
    assert await bench.text("bash", command="echo err >&2") == "err"


async def test_command_longer_than_an_argument_may_be(bench: Bench) -> None:
    body = "x" * 300_000
    await bench.text("bash", command=f"cd /tmp\ncat > /workspace/big <<'X'\n{body}\nX\n")
    assert await bench.text("bash", command="wc -c < /workspace/big; pwd") == "300001\n/tmp"


async def test_time_limit_kills_everything_and_says_so(bench: Bench) -> None:
    bench.ctx = dataclasses.replace(bench.ctx, command_seconds=0.5)
    result = await bench.use("bash", command="echo before; sleep 60")
    assert result.is_error
    assert result.text.startswith("before\n[stopped after 0 s") or "time limit" in result.text


async def test_long_output_is_whole_in_the_workspace(bench: Bench) -> None:
    text = await bench.text("bash", command="seq 1 20000")
    assert "characters left out" in text
    name = text.split("the complete text is in ")[1].split(" ")[0]
    assert await bench.text("bash", command=f"tail -1 {name}; wc -l < {name}") == "20000\n20000"


async def test_no_command_is_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="needs a command"):
        await bench.use("bash")
