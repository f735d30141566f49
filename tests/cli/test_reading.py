import re
from decimal import Decimal

import pytest

from aar.testing.example_campaign import PART, SECRET

from .conftest import Terminal

_READ = [
    ["list"],
    ["status"],
    ["leaderboard"],
    ["submissions"],
    ["submissions", "s14"],
    ["costs"],
    ["events", "--last", "0"],
    ["forum", "list"],
    ["forum", "show", "5"],
    ["forum", "search", "zero-shot"],
]
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("command", _READ, ids=" ".join)
def test_agent_text_cannot_reach_the_terminal(terminal: Terminal, command: list[str]) -> None:
    for extra in ([], ["--json"]):
        assert not _CONTROLS.search(terminal.ok(*command, *extra))


@pytest.mark.parametrize("command", _READ, ids=" ".join)
def test_what_the_controller_keeps_stays_there(terminal: Terminal, command: list[str]) -> None:
    for extra in ([], ["--json"]):
        said = terminal.ok(*command, *extra)
        assert SECRET not in said
        assert str(PART) not in said
        assert '"seed"' not in said


def test_list(terminal: Terminal) -> None:
    assert "k3v9qd" in terminal.ok("list")
    [campaign] = terminal.json("list")
    assert (campaign["id"], campaign["state"], campaign["problem"]) == ("k3v9qd", "running", "weak_to_strong")


@pytest.mark.parametrize("given", [[], ["latest"], ["k3v9qd"], ["k3"]])
def test_a_campaign_goes_by_its_beginning(terminal: Terminal, given: list[str]) -> None:
    assert terminal.json("status", *given)["id"] == "k3v9qd"


def test_status(terminal: Terminal) -> None:
    said = terminal.ok("status")
    for part in (
        "simplicity",
        "0.55 ± 0.04 by r2 (s14, not confirmed yet)",
        "human baseline 0.23",
        "of 2.00 bits",
        "not an LLM",
        "$5",
    ):
        assert part in said
    found = terminal.json("status")
    assert [each["name"] for each in found["researchers"]] == ["r1", "r2", "r3", "r4"]
    assert found["best"]["number"] == found["researchers"][1]["best"]["number"] == 14
    assert found["queue"] == {"scoring": [], "waiting": []}
    assert found["metric"]["human_baseline"] == 0.23
    assert found["spent"]["calls"] == 4
    assert (found["measured"], found["offline"], len(found["newest_posts"])) == (13, True, 4)
    assert found["seconds_run"] > 2000
    assert found["limits"]["submissions"] == 14


def test_leaderboard(terminal: Terminal) -> None:
    rows = terminal.json("leaderboard", "-n", "3")
    assert [(row["rank"], row["band"], row["submission"]["number"]) for row in rows] == [
        (1, 1, 14),
        (2, 1, 12),
        (3, 2, 13),
    ]
    assert len(terminal.json("leaderboard")) == 13
    said = terminal.ok("leaderboard", "-n", "3")
    assert "0.55 ± 0.04" in said
    assert "PGR" in said


def test_submissions(terminal: Terminal) -> None:
    assert len(terminal.json("submissions")) == 14
    assert {each["researcher_name"] for each in terminal.json("submissions", "-r", "r3")} == {"r3"}
    one = terminal.json("submissions", "s6")
    assert (one["number"], one["state"]) == (6, "measured")
    assert [file["path"] for file in one["files"]] == ["run.py", "weights.bin"]
    said = terminal.ok("submissions", "6")
    for part in ("s6: Strong L2 on PCA-10", "import numpy as np", "model-internals", "built on", "not text"):
        assert part in said


def test_costs(terminal: Terminal) -> None:
    found = terminal.json("costs")
    assert found["campaign"]["calls"] == 4
    assert found["campaign"]["model_usd"] == "0.2524"
    parts = (Decimal(found["campaign"][kind]) for kind in ("model_usd", "compute_usd", "lost_usd"))
    assert sum(parts) == Decimal(found["campaign"]["usd"])
    assert found["campaign"]["tokens"]["cache_read_tokens"] == 4 * 31_000
    assert set(found["researchers"]) == {f"k3v9qd-r{index}" for index in range(1, 5)}
    said = terminal.ok("costs")
    assert "offline search baseline (not an LLM)" in said
    assert "limit $5" in said


def test_events(terminal: Terminal) -> None:
    said = terminal.ok("events", "-n", "3").splitlines()
    assert len(said) == 3
    assert said[-1].endswith("limit submissions of campaign reached: 14 of 14")
    measured = terminal.ok("events", "-n", "0", "--kind", "submission_measured", "-r", "r2").splitlines()
    assert len(measured) == 4
    assert all(" r2 " in line for line in measured)


def test_events_go_on_from_a_cursor(terminal: Terminal) -> None:
    import json

    lines = [json.loads(line) for line in terminal.ok("events", "-n", "0", "--json").splitlines()]
    assert [each["id"] for each in lines] == sorted(each["id"] for each in lines)
    middle = lines[len(lines) // 2]["id"]
    later = [
        json.loads(line) for line in terminal.ok("events", "-n", "0", "--json", "--after", str(middle)).splitlines()
    ]
    assert later == [each for each in lines if each["id"] > middle]
    assert {"id", "at", "kind", "line", "payload", "researcher_id", "campaign_id"} == set(lines[0])


def test_forum(terminal: Terminal) -> None:
    assert [post["id"] for post in terminal.json("forum", "list")] == [5, 4, 3, 2, 1]
    assert [post["author"] for post in terminal.json("forum", "list", "-k", "question")] == ["human:ana"]
    assert [post["id"] for post in terminal.json("forum", "list", "-r", "r2")] == [1]
    assert terminal.json("forum", "search", "naive", "self-training")[0]["id"] == 3
    thread = terminal.json("forum", "show", "#1")
    assert (thread["post"]["score"], len(thread["comments"])) == (2, 2)
    said = terminal.ok("forum", "show", "1")
    assert "about s6" in said
    assert "Does it hold on sarcasm alone?" in said


def test_report(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("out") / "deep" / "report.html"
    assert terminal.ok("report", "-o", str(target)).strip() == str(target)
    assert "PCA-10" in target.read_text()
    assert terminal.json("report", "-o", str(target))["path"] == str(target)


def test_nothing_there_yet(empty: Terminal) -> None:
    assert empty.ok("list").strip() == "There is no campaign yet. Start one with: aar start"
    assert empty.json("list") == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["status"], "there is no campaign yet"),
        (["pause"], "there is no campaign yet"),
        (["resume"], "there is no campaign yet"),
    ],
)
def test_commands_without_a_campaign(empty: Terminal, command: list[str], message: str) -> None:
    result = empty.run(*command)
    assert result.exit_code == 2
    assert f"error: {message}" in result.stderr
    assert "→ Start one with: aar start" in result.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["status", "nosuch"], "no campaign nosuch"),
        (["submissions", "99"], "no submission s99"),
        (["submissions", "; drop"], "submission number is not valid: got '; drop'"),
        (["submissions", "-r", "r9"], "no researcher r9"),
        (["forum", "show", "99"], "no post #99"),
        (["forum", "show", "99999999999999999999999"], "no post"),
        (["forum", "show", "x"], "post number is not valid: got 'x'"),
        (["forum", "list", "-k", "rumour"], "unknown post kind"),
        (["problem", "show", "week_to_strong"], "no problem named"),
        (["events", "-r", "nobody"], "no researcher nobody"),
    ],
)
def test_a_wrong_name_is_told_with_a_remedy(terminal: Terminal, command: list[str], message: str) -> None:
    result = terminal.run(*command)
    assert result.exit_code == 2
    assert f"error: {message}" in result.stderr
    assert "→" in result.stderr
    assert result.stdout == ""
