"""Which submission builds on which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from aar.scoring.submissions.submit import SubmissionView


@dataclass(frozen=True, slots=True)
class LineageEntry:
    """A submission and how many submissions it descends from, one out of the other."""

    depth: int
    submission: SubmissionView


def lineage_tree(submissions: Sequence[SubmissionView]) -> list[LineageEntry]:
    """All submissions, each below the one it builds on; those that build on none come first at depth 0.

    A parent snapshot that was handed in several times counts as its first submission.
    """
    by_digest: dict[str, int] = {}
    for each in submissions:
        by_digest.setdefault(each.digest, each.number)
    children: dict[int | None, list[SubmissionView]] = defaultdict(list)
    for each in submissions:
        parent = None if each.parent is None else by_digest.get(each.parent)
        children[parent if parent is not None and parent < each.number else None].append(each)
    found: list[LineageEntry] = []
    waiting = [LineageEntry(0, each) for each in reversed(children[None])]
    while waiting:
        entry = waiting.pop()
        found.append(entry)
        waiting += [LineageEntry(entry.depth + 1, each) for each in reversed(children[entry.submission.number])]
    return found


def find_parent(submission: SubmissionView, submissions: Sequence[SubmissionView]) -> SubmissionView | None:
    """The submission that another one builds on: the first with the parent's code."""
    if submission.parent is None:
        return None
    return next((each for each in submissions if each.digest == submission.parent), None)
