"""``aar transcript`` and ``aar mcp invite``: what they print, and what they keep to themselves."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from aar.auth.tokens import find_researcher_id, new_token, operator_token
from aar.events import MessageAdded, ModelCallFailed, ResearcherStateChanged
from aar.readmodels.secret_scrubber import REMOVED_MARK
from aar.store.event_log import append_event
from aar.testing.example_campaign import SECRET

from ..conftest import Terminal


def test_it_is_whole_and_in_order(terminal: Terminal) -> None:
    said = terminal.ok("transcript", "r2")
    order = [
        "the opening",
        "Begin.",
        "(thinking) The teacher errs",
        "I look at the data",
        "→ bash",
        "python run.py",
        "total 4",
    ]
    places = [said.index(each) for each in order]
    assert places == sorted(places)
    assert said.count("The brief. ") == 80


def test_every_event_is_one_line_of_json(terminal: Terminal) -> None:
    lines = [json.loads(line) for line in terminal.ok("transcript", "r1", "--jsonl").splitlines()]
    assert [line["kind"] for line in lines] == ["message_added", "turn_received", "tool_finished"]
    assert [block["type"] for block in lines[1]["content"]] == ["thinking", "text", "tool_use"]
    assert lines[2]["tool_use_id"] == lines[1]["content"][2]["id"]
    assert [line["id"] for line in lines] == sorted(line["id"] for line in lines)


def test_secrets_and_escapes_are_taken_out(writable: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"MY_SERVICE_TOKEN": "hush-hush-hush", "ANTHROPIC_API_KEY": "a-key-of-no-known-form"}
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    guessed = ("sk-ant-api03-" + "a1B2" * 8, new_token(), "AKIA" + "Z" * 16, "ghp_" + "x" * 36, "Bearer " + "t" * 30)
    all_of_them = [*known.values(), *guessed, operator_token(writable.home), SECRET]
    database = writable.database()
    try:
        with database.writing() as session:
            text = "\x1b]0;owned\x07\u202e" + " and ".join(all_of_them) + " at the end"
            for event in (
                MessageAdded(reason="news", content=[{"type": "text", "text": text}]),
                ModelCallFailed(request_id="q", error=text),
                ResearcherStateChanged(state="failed", cause=text),
            ):
                append_event(session, "k3v9qd", event, "k3v9qd-r3")
    finally:
        database.close()
    for options in ([], ["--jsonl"]):
        said = writable.ok("transcript", "r3", *options)
        for secret in all_of_them:
            assert secret.removeprefix("Bearer ") not in said, secret
        assert said.count(REMOVED_MARK) == 3 * len(all_of_them)
        assert said.count("at the end") == 3
        assert "\x1b" not in said
        assert "\u202e" not in said


def test_a_stranger_is_told_so(terminal: Terminal) -> None:
    result = terminal.run("transcript", "r99")
    assert result.exit_code == 2
    assert "no researcher r99" in result.stderr


def test_an_inspect_log_needs_a_name_that_says_its_form(terminal: Terminal) -> None:
    result = terminal.run("transcript", "r1", "--inspect", "out.txt")
    assert result.exit_code == 2
    assert "End it in .eval or .json" in result.stderr


def test_an_invitation_prints_a_token_that_holds(writable: Terminal) -> None:
    said = writable.ok("mcp", "invite", "alice", "--direction", "Start from the errors.")
    [token] = set(re.findall(r"aar_[A-Za-z0-9_-]{43}", said))
    [http] = [line for line in said.splitlines() if "--transport http" in line]
    assert shlex.split(http)[-1] == f"Authorization: Bearer {token}"
    again = writable.json("mcp", "invite", "alice")
    database = writable.database()
    try:
        with database.reading() as session:
            assert find_researcher_id(session, again["token"]) == "k3v9qd-alice"
    finally:
        database.close()
    assert "external" in writable.ok("status")
    assert "is no longer valid" in writable.ok("mcp", "revoke", "alice")
    assert writable.run("mcp", "revoke", "r1").exit_code == 2
    assert writable.run("mcp", "invite", "r9").exit_code == 2
