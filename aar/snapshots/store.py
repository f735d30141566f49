"""The content-addressed store of snapshots on disk.

The one place to import the snapshot services from.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import IO

from aar.errors import Conflict, DataMissing, NotFound, SetupError, TransferRefused
from aar.snapshots.lineage import list_ancestors, record_snapshot, resolve_digest
from aar.snapshots.safe_walk import walk_files
from aar.snapshots.tree_manifest import (
    FileEntry,
    SavedSnapshot,
    decode_manifest,
    encode_manifest,
    is_digest,
    manifest_digest,
)

__all__ = ["SavedSnapshot", "SnapshotStore", "list_ancestors", "record_snapshot", "resolve_digest"]

_CHUNK = 1 << 20
_DRAFT_LIFE_SECONDS = 24 * 3600


class SnapshotStore:
    """A folder of snapshots: each distinct content once, one manifest a snapshot.

    Any number of threads and processes may save and read at once. Every file appears under its final name only when
    it is whole. All methods block: call them in a thread.

    Args:
        root: folder of the store; made when absent, readable by its owner only.
        max_files: most files in one snapshot.
        max_bytes: most bytes in one snapshot.
    """

    def __init__(self, root: Path, *, max_files: int = 5_000, max_bytes: int = 256 << 20) -> None:
        self._contents = root / "contents"
        self._manifests = root / "manifests"
        self._incoming = root / "incoming"
        self._max_files = max_files
        self._max_bytes = max_bytes
        with _writing(root):
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self._contents, self._manifests, self._incoming):
                folder.mkdir(exist_ok=True)
            _sweep(self._incoming)

    def save(self, directory: Path) -> SavedSnapshot:
        """Copy the files below ``directory`` into the store.

        Empty folders and modes other than "executable" are not stored.

        Raises:
            TransferRefused: something that is not a plain file or folder, a bad name, or over the store's limits.
            SetupError: the store cannot be written (for example on a full disk).
        """
        entries: list[FileEntry] = []
        total = 0

        def take(name: str, file: int, status: os.stat_result) -> None:
            nonlocal total
            if len(entries) == self._max_files:
                raise TransferRefused(
                    f"more than {self._max_files:,} files", "Remove files that the method does not need"
                )
            size, sha256 = self._store(file, self._max_bytes - total)
            total += size
            entries.append(FileEntry(name, bool(status.st_mode & stat.S_IXUSR), size, sha256))

        with _writing(self._contents):
            walk_files(directory, take, max_entries=2 * self._max_files + 10)
            manifest = encode_manifest(entries)
            digest = manifest_digest(manifest)
            if not self.exists(digest):
                with self._draft() as file:
                    file.write(manifest)
                    _settle(file, self._manifests / digest)
        return SavedSnapshot(digest, len(entries), total)

    def exists(self, digest: str) -> bool:
        """Return True if the store holds the snapshot."""
        return is_digest(digest) and (self._manifests / digest).is_file()

    def read_files(self, digest: str) -> dict[str, bytes]:
        """Return the content of every file, by relative name.

        Raises:
            NotFound: no such snapshot.
            DataMissing: the store is damaged.
        """
        return {entry.name: self._content(digest, entry) for entry in self._entries(digest)}

    def materialise(self, digest: str, target: Path) -> None:
        """Write a snapshot's files as a new folder ``target``, whole or not at all.

        Args:
            digest: which snapshot.
            target: must not exist, or be an empty folder.

        Raises:
            NotFound: no such snapshot.
            Conflict: ``target`` holds something.
            DataMissing: the store is damaged.
            SetupError: ``target`` cannot be written.
        """
        entries = self._entries(digest)
        with _writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".snapshot-", dir=target.parent))
            try:
                for entry in entries:
                    path = draft / entry.name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(self._content(digest, entry))
                    path.chmod(0o755 if entry.executable else 0o644)
                draft.chmod(0o755)
                draft.rename(target)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise Conflict(f"target folder is not empty: got {target}", "Choose an empty folder") from error
                raise
            finally:
                rmtree(draft, ignore_errors=True)

    def _entries(self, digest: str) -> list[FileEntry]:
        if not is_digest(digest):
            raise NotFound(f"snapshot digest invalid: got {digest[:80]!r}, expected 64 hex digits", "Give all of them")
        try:
            return decode_manifest(digest, (self._manifests / digest).read_bytes())
        except FileNotFoundError as error:
            raise NotFound(
                f"no snapshot {digest:.12} in this store", "See `aar submissions` for their digests"
            ) from error

    def _content(self, digest: str, entry: FileEntry) -> bytes:
        try:
            content = self._place(entry.sha256).read_bytes()
        except FileNotFoundError:
            content = None
        if content is None or hashlib.sha256(content).hexdigest() != entry.sha256:
            raise DataMissing(
                f"file {entry.name!r} of snapshot {digest:.12} is damaged", "Restore the snapshots folder from a copy"
            )
        return content

    def _store(self, file: int, room: int) -> tuple[int, str]:
        """Copy one open file into the store; returns its size and digest."""
        size, hasher = 0, hashlib.sha256()
        with self._draft() as draft:
            while chunk := os.read(file, _CHUNK):
                size += len(chunk)
                if size > room:
                    raise TransferRefused(
                        f"more than {self._max_bytes:,} bytes", "Remove files that the method does not need"
                    )
                hasher.update(chunk)
                draft.write(chunk)
            place = self._place(hasher.hexdigest())
            if not (place.is_file() and place.stat().st_size == size):
                place.parent.mkdir(exist_ok=True)
                _settle(draft, place)
        return size, hasher.hexdigest()

    @contextmanager
    def _draft(self) -> Iterator[IO[bytes]]:
        with tempfile.NamedTemporaryFile(dir=self._incoming, delete=False) as draft:
            try:
                yield draft
            finally:
                Path(draft.name).unlink(missing_ok=True)

    def _place(self, sha256: str) -> Path:
        return self._contents / sha256[:2] / sha256


def _settle(draft: IO[bytes], place: Path) -> None:
    """Give a complete file its final name, safely on disk."""
    draft.flush()
    os.fsync(draft.fileno())
    Path(draft.name).replace(place)


def _sweep(folder: Path) -> None:
    """Remove the drafts of processes that were killed."""
    for draft in folder.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > _DRAFT_LIFE_SECONDS:
                draft.unlink()


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"cannot write snapshots at {place}: {error.strerror or error}",
            "Free some space, or set AAR_HOME to a writable folder",
        ) from error
