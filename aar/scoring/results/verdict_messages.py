"""Messages to authors about their methods' results.

They are exact about a method's own failure and reveal nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from aar.problems.protocol import Estimate, Metric, RunLimits
from aar.sandbox.protocol import ExecResult, ExitReason
from aar.scoring.audits.audit_findings import FindingView
from aar.scoring.audits.protocol import AuditVerdict
from aar.scoring.results.leaderboard import LeaderboardRow
from aar.scoring.submissions import UNDISCLOSED
from aar.store.models import Submission

_TAIL_LINES = 15
_TAIL_CHARACTERS = 1500
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
_BEFORE_PATH = "'\"(="
_AFTER_PATH = re.compile(r"(?:/[^\s'\")]*)?")
_NAME_CHARACTER = re.compile(r"[\w-]")
_MIB = 1024**2
UNPREPARED_CAUSE = "the problem's own code failed as it prepared the data"
PREPARATION_FAILED_MESSAGE = (
    f"could not be made: {UNPREPARED_CAUSE}, also on the second try. Your method was not run; submit it again later."
)
"""The message for a run whose data the problem could not prepare."""
UNCONFIRMED = (
    "Could not be confirmed: the problem's own code failed over it, which is no evidence about your method. "
    "The measured score stays valid."
)


class RunFailure(StrEnum):
    """The reason why a run has no score."""

    CRASHED = "crashed"
    TIME_LIMIT = "time_limit"
    OUT_OF_MEMORY = "out_of_memory"
    NO_OUTPUT = "no_output"
    OUTPUT_REFUSED = "output_refused"
    OUTPUT_REJECTED = "output_rejected"
    SANDBOX_LOST = "sandbox_lost"
    PROBLEM_FAILED = "problem_failed"


OUTPUT_MISSING = (
    RunFailure.NO_OUTPUT,
    "gave no output: run.py exited with code 0 but wrote no file to the path given as --out.",
)
OUTPUT_UNREADABLE = (
    RunFailure.OUTPUT_REJECTED,
    "wrote an output that cannot be scored: it is not in the format that the brief names.",
)
"""Of a file that broke the problem's reader; the reader's own error may quote hidden data, so it is not shown."""
OUTPUT_UNGRADED = (
    RunFailure.OUTPUT_REJECTED,
    "wrote an output that cannot be scored: the problem's grading did not finish on it. "
    "Check that it is in the format that the brief names.",
)
"""Of a file that hung or crashed the problem's reader; too much memory counts as a crash."""


def failure_message(result: ExecResult, limits: RunLimits, hosts: Iterable[Path]) -> tuple[RunFailure, str] | None:
    """Return the message for a command that failed; None for one that succeeded.

    Args:
        limits: the limits that it ran under.
        hosts: host directories whose paths must not be shown.
    """
    match result.reason:
        case ExitReason.EXITED if result.code == 0:
            return None
        case ExitReason.TIME_LIMIT:
            return RunFailure.TIME_LIMIT, (
                f"was stopped at the time limit of {limits.seconds:g} s.{_output_tail(result.output, hosts)}"
            )
        case ExitReason.OUT_OF_MEMORY:
            gib = limits.memory_bytes / 1024**3
            return (
                RunFailure.OUT_OF_MEMORY,
                f"ran out of memory: a run may use {gib:.3g} GiB.{_output_tail(result.output, hosts)}",
            )
        case ExitReason.EXITED:
            how = f"run.py exited with code {result.code}"
        case _:
            how = f"run.py was ended by signal {result.code - 128}"
    return RunFailure.CRASHED, f"crashed: {how} after {result.seconds:.1f} s.{_output_tail(result.output, hosts)}"


def output_refused_message(limits: RunLimits) -> tuple[RunFailure, str]:
    """Return the message for an output that is too large or no regular file.

    Such an output is not fetched.
    """
    size = f"{limits.output_bytes / _MIB:.3g} MiB"
    return RunFailure.OUTPUT_REFUSED, f"left an output that is not accepted: expected a regular file of at most {size}."


def output_rejected_message(reason: str, hosts: Iterable[Path]) -> tuple[RunFailure, str]:
    """Return the message for an output file that the problem cannot score.

    ``reason`` is the problem's text for the researcher.
    """
    # Truncated before it is processed: a problem may quote a method's output.
    words = remove_host_paths(reason[: 8 * _TAIL_CHARACTERS], hosts)
    short = words if len(words) <= _TAIL_CHARACTERS else words[: _TAIL_CHARACTERS - 1] + "…"
    return RunFailure.OUTPUT_REJECTED, f"wrote an output that cannot be scored: {short}"


def sandbox_lost_message(times: int) -> tuple[RunFailure, str]:
    """Return the message for a method that lost its sandbox at each attempt.

    An idle sandbox does work.
    """
    return RunFailure.SANDBOX_LOST, (
        f"ended its own sandbox {times} times in a row, while an idle sandbox runs on. "
        "Kill only processes that the method started."
    )


def rejection_verdict(number: int, index: int, runs: int, domain: str, text: str) -> str:
    """Return the verdict on a submission with a failed run."""
    return f"s{number} rejected: run {index + 1} of {runs} ({domain}) {text}\nEvery run has to succeed."


def measurement_verdict(
    number: int,
    metric: Metric,
    estimate: Estimate,
    *,
    seeds: int,
    domains: int,
    row: LeaderboardRow | None,
    rows: int,
    leader: LeaderboardRow | None,
) -> str:
    """Return the one-line verdict on a measured submission.

    It holds the rounded score and its place on the board.

    Args:
        row: the board's row that shows this code; another number's when the same code was submitted before, None
            when the code is off the board.
        rows: how many rows the board has.
        leader: its first row.
    """
    score = f"{metric.name} {_format_score(estimate.mean)} ± {_format_score(estimate.standard_error)}"
    interval = f"90 % interval {_format_score(estimate.low)} to {_format_score(estimate.high)}"
    basis = f"{_count(seeds, 'seed')} x {_count(domains, 'domain')}"
    text = f"s{number} measured: {score} ({interval}, {basis})."
    if row is None or leader is None:
        return f"{text} Its code is off the board."
    if row.submission.number != number:
        first_number = row.submission.number
        text += f" It is the same code as s{first_number}: their seeds are pooled, and s{first_number} is on the board."
    if row.rank == 1:
        until = ", until a confirmation on sealed data supports it" if row.provisional else ""
        return f"{text} Rank 1 of {rows}{until}."
    first = leader.submission
    best = f"best is s{first.number} by {first.researcher_name} with {_format_score(first.mean)}"
    return f"{text} Rank {row.rank} of {rows}; {best}."


def withheld_verdict(submission: Submission, metric: Metric, best: Submission | None) -> str:
    """Return the verdict on a measured submission whose score is withheld.

    Args:
        best: the score that it is surely below, the author's best or another's; None if it is below the plainest
            method's.
    """
    if best is None:
        than = f"the plainest method ({metric.name} {_format_score(metric.plain)})"
    else:
        whose = "your best" if best.researcher_id == submission.researcher_id else "the best of others"
        # The score of the best may itself be withheld.
        score = f" ({metric.name} {_format_score(best.mean)} ± {_format_score(best.standard_error)})"
        known = "" if best.telling in UNDISCLOSED else score
        than = f"s{best.number}, {whose}{known}"
    return (
        f"s{submission.number} measured, number withheld: it is surely worse than {than}. "
        "The campaign's allowance of low scores shown as numbers is used up."
    )


def confirmation_verdict(status: str, findings: Iterable[FindingView]) -> str:
    """Return the result of a confirmation and its audits, one line each.

    It names no number of the sealed split.
    """
    sentences = {
        "confirmed": "Confirmed: fresh seeds on the sealed split support the score.",
        "refuted": "Refuted: fresh seeds on the sealed split do not support the score; it is off the board.",
    }
    lines = [sentences[status]] if status in sentences else []
    labelled = [finding for finding in findings if finding.label and finding.verdict != AuditVerdict.SKIPPED]
    lines += [f"The {finding.audit} audit found {finding.label}: {finding.reason}" for finding in labelled]
    return "\n".join(lines)


def remove_host_paths(text: str, hosts: Iterable[Path]) -> str:
    """Remove control characters and paths of host directories from a text.

    Host paths mean nothing to a researcher.

    A path is found by its last two parts too, since the kernel's mount table shows some without their beginning.
    """
    clean = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    for host in hosts:
        if len(host.parts) >= 2:
            clean = _mask_paths(clean, "/" + "/".join(host.parts[-2:]).lstrip("/"))
    return clean


def _mask_paths(text: str, tail: str) -> str:
    """Replace each path that holds ``tail`` by a mark, in linear time."""
    parts, done, at = [], 0, text.find(tail)
    while at >= 0:
        end = _AFTER_PATH.match(text, at + len(tail)).end()  # type: ignore[union-attr]  # it matches anywhere
        if end == at + len(tail) and _NAME_CHARACTER.match(text, end):
            at = text.find(tail, at + 1)  # another folder, whose name begins the same way
            continue
        begin = at
        while begin > done and text[begin - 1] not in _BEFORE_PATH and not text[begin - 1].isspace():
            begin -= 1
        parts += [text[done:begin], "<path>"]
        done, at = end, text.find(tail, end)
    return "".join([*parts, text[done:]])


def _output_tail(output: str, hosts: Iterable[Path]) -> str:
    # Truncated before the patterns run: a method's output may be long.
    lines = remove_host_paths(output[-8 * _TAIL_CHARACTERS :], hosts).strip().splitlines()[-_TAIL_LINES:]
    tail = "\n".join(lines)[-_TAIL_CHARACTERS:].strip()
    return f" The end of its output:\n{tail}" if tail else " It printed nothing."


def _format_score(value: float | None) -> str:
    return "?" if value is None else f"{round(value, 2) + 0.0:.2f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
