"""`aar forum` after the first word."""

from __future__ import annotations

from .conftest import Terminal


def test_a_person_edits_retracts_and_pins(writable: Terminal) -> None:
    writable.ok("forum", "post", "Try fewer", "Does 5 do? See #1.", "--as", "ana")
    assert "its former version stays visible" in writable.ok("forum", "edit", "6", "Does 3 do? See #1.", "--as", "ana")
    assert "Does 5 do?" in writable.ok("forum", "show", "6", "--history")
    assert "refers to #1" in writable.ok("forum", "show", "6")
    writable.ok("forum", "pin", "6")
    assert writable.json("forum", "show", "6")["post"]["pinned"]
    writable.ok("forum", "retract", "6", "it does not", "--as", "ana")
    assert "it does not" in writable.ok("forum", "show", "6")
    assert writable.json("forum", "search", "fewer") == []
    assert len(writable.json("forum", "search", "fewer", "--retracted", "--by", "ana")) == 1
    assert "submission number is not valid" in writable.run("forum", "search", "x", "--cites", "seven").stderr


def test_labels_are_written_changed_shown_and_asked_for(writable: Terminal) -> None:
    made = writable.json("forum", "post", "Two ideas", "b", "--family", "self training", "--family", "ensemble")
    assert made["families"] == ["self-training", "ensemble"]
    number = str(made["id"])
    assert "families self-training, ensemble" in writable.ok("forum", "show", number)
    for words in (["list"], ["search", "ideas"]):
        assert [each["id"] for each in writable.json("forum", *words, "--family", "ensemble")] == [made["id"]]
        assert writable.json("forum", *words, "--family", "curriculum") == []
    writable.ok("forum", "edit", number, "--family", "curriculum")
    kept = writable.json("forum", "show", number)["post"]
    assert (kept["families"], kept["body"]) == (["curriculum"], "b")
    wrong = writable.run("forum", "post", "Three", "b", "--family", "magic")
    assert wrong.exit_code == 2
    assert "evolutionary" in " ".join(wrong.stderr.split())
    assert (
        "comment cannot have families"
        in writable.run("forum", "edit", number, "x", "--comment", "1", "--family", "other").stderr
    )


def test_claims_are_listed(writable: Terminal) -> None:
    assert "No active claims." in writable.ok("forum", "claims")
    assert "no claim 7" in writable.run("forum", "release", "7").stderr
