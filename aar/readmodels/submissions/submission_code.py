"""Reads the frozen code of a submission, for people."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from aar.snapshots.store import SnapshotStore

_LONGEST = 200_000
_MOST_FILES = 100


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
