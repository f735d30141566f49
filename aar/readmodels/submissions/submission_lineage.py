"""Lineage of submissions: the parent of each, and the tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from aar.scoring.submissions import SubmissionView


@dataclass(frozen=True, slots=True)
class LineageEntry:
    """A submission and the number of its ancestors."""

    depth: int
    submission: SubmissionView


def lineage_tree(submissions: Sequence[SubmissionView]) -> list[LineageEntry]:
    """Lists submissions, each below its parent; roots come first at depth 0.

    A parent snapshot that was submitted several times counts as its first submission.
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
    """Returns a submission's parent: the first submission with the parent's code."""
    if submission.parent is None:
        return None
    return next((each for each in submissions if each.digest == submission.parent), None)
