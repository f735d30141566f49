from __future__ import annotations

from pathlib import Path

import pytest

from aar.problems.protocol import RunLimits
from aar.sandbox.protocol import ExecResult, ExitReason
from aar.scoring.results.verdict_messages import RunFailure, failure_message, output_rejected_message, remove_host_paths

LIMITS = RunLimits(seconds=120, memory_bytes=2 * 1024**3)
WORK = Path("/var/lib/ana/aar/campaigns/k3v9qd/scoring")


def ended(reason: ExitReason, code: int = 0, output: str = "") -> ExecResult:
    return ExecResult(reason, code, output, 0, 3.21)


@pytest.mark.parametrize(
    ("result", "failure", "says"),
    [
        (ended(ExitReason.EXITED, 1, "Traceback\nValueError: x"), RunFailure.CRASHED, "exited with code 1 after 3.2 s"),
        (ended(ExitReason.EXITED, 1, "Traceback\nValueError: x"), RunFailure.CRASHED, "\nTraceback\nValueError: x"),
        (ended(ExitReason.EXITED, 3), RunFailure.CRASHED, "It printed nothing."),
        (ended(ExitReason.SIGNALLED, 139), RunFailure.CRASHED, "ended by signal 11"),
        (ended(ExitReason.TIME_LIMIT, 137), RunFailure.TIME_LIMIT, "time limit of 120 s"),
        (ended(ExitReason.OUT_OF_MEMORY, 137), RunFailure.OUT_OF_MEMORY, "may use 2 GiB"),
    ],
)
def test_each_end_has_its_words(result: ExecResult, failure: RunFailure, says: str) -> None:
    found = failure_message(result, LIMITS, ())
    assert found is not None
    assert found[0] is failure
    assert says in found[1]


def test_a_good_end_has_none() -> None:
    assert failure_message(ended(ExitReason.EXITED, 0, "done"), LIMITS, ()) is None


def test_only_the_last_lines_are_shown_and_they_are_bounded() -> None:
    lines = "\n".join(f"line {number}" for number in range(1000))
    found = failure_message(ended(ExitReason.EXITED, 1, lines), LIMITS, ())
    assert found is not None
    assert "line 999" in found[1]
    assert "line 900" not in found[1]
    found = failure_message(ended(ExitReason.EXITED, 1, "x" * 10**7), LIMITS, ())
    assert found is not None
    assert len(found[1]) < 2000


@pytest.mark.parametrize(
    "text",
    [
        f"open {WORK}/bundles/ab/hidden/labels.npz",
        f"File '{WORK}/runs/x/method/run.py', line 1",
        # As the kernel's mount table shows a path on a file system of its own:
        "36 35 98:0 /aar/campaigns/k3v9qd/scoring/bundles/ab/public /data ro",
        f"path={WORK}",
    ],
)
def test_host_paths_are_not_shown(text: str) -> None:
    shown = remove_host_paths(text, [WORK])
    assert "<path>" in shown
    for part in ("campaigns", "k3v9qd", "bundles", "hidden", "runs/"):
        assert part not in shown


def test_paths_inside_the_sandbox_stay() -> None:
    text = 'File "/method/run.py", line 3, in <module>\n/data/weak.npy /workspace/out.npy'
    assert remove_host_paths(text, [WORK, Path("/home/ana")]) == text


def test_control_characters_are_dropped() -> None:
    assert remove_host_paths("\x1b[31mred\x1b[0m\x00 a\rb\u202e\tc\n", ()) == "red a\nb\tc\n"
    assert output_rejected_message("bad \x1b[2J shape", ())[1].endswith("bad  shape")
