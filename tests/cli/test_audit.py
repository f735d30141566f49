"""``aar audit`` and the looks that go with it, over a campaign with confirmations, audits and a queue."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.testing.example_audits import PEOPLE_ONLY

from ..example_copies import ExampleCopies
from .conftest import Terminal, _terminal

_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def checked_home(example_copies: ExampleCopies, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("checked")
    example_copies.copy(home, audits=True)
    return home


@pytest.fixture
def checked(checked_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Commands over the campaign; only for reading."""
    yield from _terminal(checked_home, monkeypatch)


@pytest.fixture
def deciding(checked_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Commands over a copy."""
    shutil.copytree(checked_home, tmp_path / "home")
    yield from _terminal(tmp_path / "home", monkeypatch)


def test_the_board_shows_what_stands_and_what_fell(checked: Terminal) -> None:
    said = checked.ok("leaderboard")
    for part in ("0.52 ± 0.02", "0.47 ± 0.03", "[teacher-independent]", "confirmed", "band"):
        assert part in said
    below = said[said.index("Disqualified") :]
    assert "s13 by r4  static.network" in below
    assert "s7 by r4" in below[below.index("Refuted") :]
    assert {row["submission"]["number"] for row in checked.json("leaderboard")}.isdisjoint({7, 13})


def test_show(checked: Terminal) -> None:
    said = checked.ok("audit", "show", "s12")
    for part in ("sealed splits", "0.47 ± 0.03", "amazon 0.29", "teacher audit: passed", "measured → confirmed"):
        assert part in said
    found = checked.json("audit", "show", "12")
    assert [each["new"] for each in found["history"]] == ["claimed", "measured", "confirmed"]
    assert checked.json("submissions", "s12")["phases"] == found["phases"]
    assert "waits" not in said
    assert "confirmation: queued, asked for by human:ana" in checked.ok("audit", "show", "s14")
    assert "Expected: 0.56" in checked.ok("submissions", "s15")


@pytest.mark.parametrize("number", ["s10", "s12", "s13", "s14"])
def test_nothing_that_acts_and_nothing_unrounded_is_printed(checked: Terminal, number: str) -> None:
    for command in (["audit", "show", number], ["submissions", number], ["leaderboard"]):
        for extra in ([], ["--json"]):
            said = checked.ok(*command, *extra)
            assert not _CONTROLS.search(said)
            assert str(PEOPLE_ONLY) not in said


def test_status_tells_who_waits_and_what_is_confirmed(checked: Terminal) -> None:
    said = checked.ok("status")
    assert "s15 waits" in said
    assert "confirmed at 0.47" in said
    assert [each["number"] for each in checked.json("status")["queue"]["waiting"]] == [15, 16]


def test_a_post_says_how_what_it_cites_stands(checked: Terminal) -> None:
    posts = checked.json("forum", "list", "-r", "r1")
    assert "cites s7 refuted, s12 confirmed, s13 disqualified" in checked.ok("forum", "show", str(posts[0]["id"]))


def test_a_person_decides_on_the_record(deciding: Terminal) -> None:
    said = deciding.ok("audit", "disqualify", "s6", "--rule", "person.leak", "--reason", "Reads /proc.", "--as", "bo")
    assert said.strip() == "s6 is disqualified"
    assert "person.leak" in deciding.ok("leaderboard")
    twice = deciding.run("audit", "disqualify", "s6", "--rule", "person.leak", "--reason", "x")
    assert twice.exit_code == 1
    assert "already" in twice.stderr
    assert "s6 is reinstated" in deciding.ok("audit", "reinstate", "s6", "--reason", "It does not.", "--as", "bo")
    history = deciding.json("audit", "show", "s6")["history"]
    assert [(each["new"], each["by"]) for each in history[-2:]] == [
        ("disqualified", "human:bo"),
        ("reinstated", "human:bo"),
    ]


def test_a_confirmation_waits_for_the_campaign_to_go_on(deciding: Terminal) -> None:
    said = deciding.ok("audit", "confirm", "s6", "--reason", "for the paper", "--as", "bo")
    assert said.strip() == "s6 will be confirmed, once the campaign goes on: aar resume k3v9qd"
    check = deciding.json("audit", "show", "s6")["checks"][-1]
    assert (check["kind"], check["state"], check["by"]) == ("confirmation", "queued", "human:bo")
    last = deciding.ok("events", "-n", "1", "--kind", "control_requested")
    assert "s6 for the paper" in last


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["show", "s99"], "no submission s99"),
        (["show", "twelve"], "submission number is not valid"),
        (["confirm", "s8"], "expected a measured one"),
        (["confirm", "s13"], "disqualified"),
        (["reinstate", "s6", "--reason", "x"], "not disqualified"),
        (["disqualify", "s6", "--rule", "two words", "--reason", "x"], "invalid rule name"),
        (["disqualify", "s6", "--rule", "a.b", "--reason", " "], "the reason is empty"),
    ],
)
def test_mistakes(checked: Terminal, command: list[str], message: str) -> None:
    result = checked.run("audit", *command)
    assert result.exit_code in (1, 2)
    assert message in result.stderr


def test_a_finished_campaign_confirms_nothing_more(deciding: Terminal) -> None:
    deciding.ok("stop")
    result = deciding.run("audit", "confirm", "s6")
    assert result.exit_code == 1
    assert "finished" in result.stderr
    deciding.ok("audit", "disqualify", "s6", "--rule", "person.leak", "--reason", "Found out later.")
