"""The frozen code of a submission: its files, its differences from others', its lineage."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from aar.errors import BoundExceeded
from aar.scoring.submissions import SubmissionView
from aar.snapshots.store import SnapshotStore
from aar.workers.worker_pool import run_in_worker_sync

_LONGEST = 200_000
_MOST_FILES = 100
_MOST_LINES = 2_000
"""A longer file is only marked as changed: the comparison's time grows with the square of its length."""
_SHOWN_LINES = 600
"""Lines of one file's difference that are shown."""
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class CodeFile:
    """A file of the frozen code.

    ``text`` is None if it is not text or too long; ``digest`` is the SHA-256 of its content.
    """

    path: str
    size_bytes: int
    text: str | None
    digest: str = ""


def open_local_snapshots(campaign_dir: Path) -> SnapshotStore | None:
    """Opens the snapshots in a campaign's folder; None if not on this machine."""
    root = campaign_dir / "snapshots"
    return SnapshotStore(root) if root.is_dir() else None


def read_submission_code(snapshots: SnapshotStore | None, digest: str) -> list[CodeFile]:
    """Lists the files of a snapshot, the entry point first.

    Empty if the snapshot is not on this machine.
    """
    if snapshots is None or not snapshots.exists(digest):
        return []
    files = snapshots.read_files(digest)
    order = sorted(files, key=lambda path: (path != "run.py", path != "method.yaml", path))
    return [_file(path, files[path]) for path in order[:_MOST_FILES]]


def _file(path: str, content: bytes) -> CodeFile:
    return CodeFile(path, len(content), _text(content), sha256(content).hexdigest())


def _text(content: bytes) -> str | None:
    if len(content) > _LONGEST:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a diff.

    ``kind`` is added, removed, same or place (the position of the next lines in the file).
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class FileDifference:
    """The difference of one file.

    Args:
        change: added, removed, changed.
        lines: empty if the file is not text or too long to compare.
        cut: number of further lines that are not shown.
    """

    path: str
    change: str
    lines: list[DiffLine]
    cut: int = 0

    @property
    def added(self) -> int:
        """Counts the added lines among those shown."""
        return sum(line.kind == "added" for line in self.lines)

    @property
    def removed(self) -> int:
        """Counts the removed lines among those shown."""
        return sum(line.kind == "removed" for line in self.lines)


def diff_files(parent: Sequence[CodeFile], child: Sequence[CodeFile]) -> list[FileDifference]:
    """Lists the files that differ; blocks.

    In the order of the child's files, then the files that it no longer has.

    They are compared in another process. If that takes too long, no lines are shown for any file.
    """
    try:
        return run_in_worker_sync(diff_files_here, parent, child, True, seconds=_SECONDS)
    except BoundExceeded:
        return diff_files_here(parent, child, False)


def diff_files_here(parent: Sequence[CodeFile], child: Sequence[CodeFile], with_lines: bool) -> list[FileDifference]:
    """Diffs in this process.

    ``with_lines`` adds the changed lines of each file that is text and short enough.
    """
    before, after = {each.path: each for each in parent}, {each.path: each for each in child}
    differences = []
    for path in [*after, *(path for path in before if path not in after)]:
        old, new = before.get(path), after.get(path)
        if old is not None and new is not None and old.digest == new.digest:
            continue
        change = "added" if old is None else "removed" if new is None else "changed"
        differences.append(_difference(path, change, old, new) if with_lines else FileDifference(path, change, []))
    return differences


def _difference(path: str, change: str, old: CodeFile | None, new: CodeFile | None) -> FileDifference:
    texts = [("" if each is None else each.text) for each in (old, new)]
    if texts[0] is None or texts[1] is None:
        return FileDifference(path, change, [])
    left, right = texts[0].splitlines(), texts[1].splitlines()
    if max(len(left), len(right)) > _MOST_LINES:
        return FileDifference(path, change, [])
    raw = list(difflib.unified_diff(left, right, lineterm="", n=3))[2:]
    lines = [_line(each) for each in raw[:_SHOWN_LINES]]
    return FileDifference(path, change, lines, max(0, len(raw) - _SHOWN_LINES))


def _line(raw: str) -> DiffLine:
    if raw.startswith("@@"):
        return DiffLine("place", raw)
    kinds = {"+": "added", "-": "removed"}
    return DiffLine(kinds.get(raw[:1], "same"), raw[1:])


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
    entries: list[LineageEntry] = []
    waiting = [LineageEntry(0, each) for each in reversed(children[None])]
    while waiting:
        entry = waiting.pop()
        entries.append(entry)
        waiting += [LineageEntry(entry.depth + 1, each) for each in reversed(children[entry.submission.number])]
    return entries


def find_parent(submission: SubmissionView, submissions: Sequence[SubmissionView]) -> SubmissionView | None:
    """Returns a submission's parent: the first submission with the parent's code."""
    if submission.parent is None:
        return None
    return next((each for each in submissions if each.digest == submission.parent), None)
