"""A real campaign with a guest: its method is scored like the others', and the controller neither runs nor bills it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from .conftest import METHOD, ask, connected

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]
_START = "start {spec} --submissions 4 --seeds 2 --tokens none --usd 1 --plain --yes --port 0"


@dataclass(slots=True)
class Campaign:
    """A campaign in a process of its own."""

    env: dict[str, str]
    process: subprocess.Popen[str]
    address: str

    def aar(self, *arguments: str) -> str:
        """Another command over the same home."""
        command = [sys.executable, "-m", "aar", *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture
def campaign(tmp_path: Path, quick_spec: Path) -> Iterator[Campaign]:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("AAR_", "ANTHROPIC"))}
    env |= {"AAR_HOME": str(tmp_path / "home"), "PYTHONUNBUFFERED": "1"}
    with (tmp_path / "errors").open("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "aar", *_START.format(spec=quick_spec).split()],
            env=env,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=tmp_path,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if found := re.search(r"pages at (http://\S+?);", line):
                    break
            else:
                raise AssertionError(said + (tmp_path / "errors").read_text())
            yield Campaign(env, process, found[1])
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def test_a_guests_method_is_scored_beside_the_teams(campaign: Campaign, tmp_path: Path) -> None:
    invited = json.loads(campaign.aar("mcp", "invite", "alice", "--json"))
    assert invited["address"] == f"{campaign.address}/mcp"
    score = asyncio.run(_join(invited))
    assert score["state"] == "measured", score
    assert score["researcher_name"] == "alice"
    assert score["verdict"].startswith(f"s{score['number']} measured:")
    assert campaign.process.stdout is not None
    for _ in campaign.process.stdout:
        pass
    assert campaign.process.wait(timeout=60) == 0

    status = json.loads(campaign.aar("status", "--json"))
    costs = json.loads(campaign.aar("costs", "--json"))
    guest = costs["researchers"][f"{invited['campaign_id']}-alice"]
    assert float(guest["agent_seconds"]) == 0
    assert guest["calls"] == 0
    events = [json.loads(line) for line in campaign.aar("events", "-r", "alice", "-n", "0", "--json").splitlines()]
    assert not {"sandbox_created", "model_called", "researcher_state_changed"} & {event["kind"] for event in events}
    assert status["state"] in ("finished", "paused")

    pytest.importorskip("inspect_ai", reason="the extra inspect (inspect_ai) is not installed")
    _check_inspect(campaign, tmp_path / "r1.eval")


async def _join(invited: dict[str, str]) -> Any:
    async with connected(invited["address"], invited["token"]) as client:
        made = await ask(client, "submit_method", files=METHOD, key="mine")
        while True:
            found = await ask(client, "submission", submission=made["submission"])
            if found["state"] in ("measured", "rejected"):
                return found
            await anyio.sleep(0.5)


def _check_inspect(campaign: Campaign, path: Path) -> None:
    """What Inspect reads of the real researcher is what the log holds."""
    from inspect_ai.log import read_eval_log

    assert campaign.aar("transcript", "r1", "--inspect", str(path)).strip() == str(path)
    lines = [json.loads(line) for line in campaign.aar("transcript", "r1", "--jsonl").splitlines()]
    log = read_eval_log(path)
    assert log.samples is not None
    [sample] = log.samples
    assert [message.metadata and message.metadata["event"] for message in sample.messages] == [
        line["id"] for line in lines
    ]
    calls = [call.id for message in sample.messages for call in getattr(message, "tool_calls", None) or []]
    answered = [message.tool_call_id for message in sample.messages if message.role == "tool"]
    assert calls
    assert set(answered) <= set(calls)
    handed_in = [each for each in json.loads(campaign.aar("submissions", "--json")) if each["researcher_name"] == "r1"]
    assert handed_in
    assert sample.scores is not None
    assert {name: score.value for name, score in sample.scores.items()} == {
        f"s{each['number']}": each["state"] if each["mean"] is None else each["mean"] for each in handed_in
    }
