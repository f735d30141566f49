from aar.testing.example_campaign import PART, SECRET

from .conftest import Terminal


def test_the_record_of_a_submission(terminal: Terminal) -> None:
    found = terminal.json("submissions", "s14", "--record")
    assert found["submission"]["number"] == 14
    assert {run["phase"] for run in found["runs"]} == {"measure"}
    assert len(found["runs"]) == 6
    assert all(run["seed"] >= 0 and run["split_seed"] >= 0 and run["drawn_at"] for run in found["runs"])
    assert {run["output_digest"] for run in found["runs"]} == {"f" * 64}
    assert found["happenings"][0]["kind"] == "submission_received"
    said = terminal.ok("submissions", "14", "--record")
    for part in (
        found["submission"]["digest"],
        str(found["runs"][0]["split_seed"]),
        "measure 5",
        "charged",
        "digest",
    ):
        assert part in said
    for text in (said, str(found)):
        assert SECRET not in text
        assert str(PART) not in text


def test_the_record_of_a_failed_one_says_why(terminal: Terminal) -> None:
    said = terminal.ok("submissions", "s8", "--record")
    assert "MemoryError" in said
    assert "skipped" in said


def test_a_record_is_of_one_submission(terminal: Terminal) -> None:
    result = terminal.run("submissions", "--record")
    assert result.exit_code == 2
    result = terminal.run("submissions", "s99", "--record")
    assert result.exit_code == 2
