"""The content-addressed store of snapshots on disk.

The digest of a snapshot is the SHA-256 of its manifest, and the manifest holds each file's relative name, executable
bit, size and SHA-256. So the same content always has the same name, on every machine and in every order of reading. A
directory is walked safely while its owner may change it: the walk never leaves it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from shutil import rmtree
from typing import IO

from aar.errors import Conflict, DataMissing, NotFound, SetupError, TransferRefused

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_MAX_NAME_BYTES = 1024
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_DEPTH = 40
_CHUNK = 1 << 20
_DRAFT_LIFE_SECONDS = 24 * 3600

FileVisitor = Callable[[str, int, os.stat_result], None]


@dataclass(frozen=True, slots=True)
class SavedSnapshot:
    """A snapshot as it was saved."""

    digest: str
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a snapshot.

    Args:
        name: relative, with ``/`` between parts.
        executable: whether its owner may run it; no other mode bit is stored.
        size_bytes: length of its content.
        sha256: hex digest of its content.
    """

    name: str
    executable: bool
    size_bytes: int
    sha256: str


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


def is_digest(text: str) -> bool:
    """Return True if ``text`` has the form of a SHA-256 in lower-case hex."""
    return _DIGEST.fullmatch(text) is not None


def check_name(name: str) -> str:
    """Return a relative file name that stays below its root on every system.

    Raises:
        TransferRefused: absolute, empty, with ``..``, control characters or a backslash, too long, or not UTF-8.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise TransferRefused(f"file name {name!r} leaves its directory", "Use plain relative names")
    if _CONTROL.search(name) or "\\" in name:
        raise TransferRefused(f"file name {name!r} has a control character or a backslash", "Rename the file")
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise TransferRefused(f"file name {name!r} is not UTF-8", "Rename the file") from error
    if length > _MAX_NAME_BYTES:
        raise TransferRefused(f"file name {name[:60]!r}… is longer than {_MAX_NAME_BYTES} bytes", "Shorten it")
    return name


def encode_manifest(entries: Iterable[FileEntry]) -> bytes:
    """Return the canonical form of a manifest, independent of the order of ``entries``."""
    ordered = sorted(entries, key=lambda entry: entry.name.encode())
    rows = [[entry.name, entry.executable, entry.size_bytes, entry.sha256] for entry in ordered]
    return json.dumps({"version": 1, "files": rows}, separators=(",", ":")).encode()


def manifest_digest(manifest: bytes) -> str:
    """Return the name of the snapshot with this manifest."""
    return hashlib.sha256(manifest).hexdigest()


def decode_manifest(digest: str, manifest: bytes) -> list[FileEntry]:
    """Return the files of a manifest.

    Raises:
        DataMissing: the bytes are not the ones that ``digest`` names.
        TransferRefused: a file name in it would leave its directory.
    """
    if manifest_digest(manifest) != digest:
        raise DataMissing(f"snapshot {digest:.12} is damaged", "Restore the snapshots folder from a copy")
    rows = json.loads(manifest)["files"]
    return [FileEntry(check_name(name), bool(runs), int(size), str(sha)) for name, runs, size, sha in rows]


def walk_files(directory: Path, visit: FileVisitor, *, max_entries: int) -> None:
    """Call ``visit`` for every file below ``directory``.

    It gets the relative name, an open file descriptor and its stat.

    Every step goes through the descriptor of the directory above, and no link is followed, so that a rename or a
    link made during the walk cannot lead outside.

    Args:
        directory: the first directory.
        visit: called once a file; may raise to end the walk.
        max_entries: most files and folders together.

    Raises:
        TransferRefused: a link, device, pipe, socket or bad name, or too many entries; the message names it.
    """
    left = max_entries

    def enter(folder: int, prefix: str, depth: int) -> None:
        nonlocal left
        if depth == 0:
            raise TransferRefused(f"the folder nests deeper than {_MAX_DEPTH} levels", "Flatten it, or remove folders")
        with os.scandir(folder) as found:
            entries = [entry.name for entry in islice(found, left + 1)]
        left -= len(entries)
        if left < 0:
            raise TransferRefused("the folder holds too many files", "Remove files that the method does not need")
        for entry in sorted(entries):
            name = check_name(prefix + entry)
            mode = _stat(entry, folder, name).st_mode
            if stat.S_ISDIR(mode):
                with _opened(entry, folder, _OPEN_DIRECTORY, name) as below:
                    enter(below, name + "/", depth - 1)
            elif stat.S_ISREG(mode):
                with _opened(entry, folder, _OPEN_FILE, name) as file:
                    status = os.fstat(file)
                    if not stat.S_ISREG(status.st_mode):
                        raise _irregular(name, status.st_mode)
                    visit(name, file, status)
            else:
                raise _irregular(name, mode)

    with _opened(str(directory), None, _OPEN_DIRECTORY, ".") as root:
        enter(root, "", _MAX_DEPTH)


def _stat(entry: str, directory: int, name: str) -> os.stat_result:
    try:
        return os.stat(entry, dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        raise _unreadable(name, error) from error


@contextmanager
def _opened(entry: str, directory: int | None, flags: int, name: str) -> Iterator[int]:
    try:
        descriptor = os.open(entry, flags, dir_fd=directory)
    except OSError as error:
        raise _unreadable(name, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _unreadable(name: str, error: OSError) -> TransferRefused:
    return TransferRefused(f"cannot read {name!r}: {error.strerror}", "Use plain files only, and do not change them")


def _irregular(name: str, mode: int) -> TransferRefused:
    kinds = ((stat.S_ISLNK, "a link"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    kind = next((word for test, word in kinds if test(mode)), "a device")
    return TransferRefused(f"{name!r} is {kind}", "Use plain files and folders only; copy the target of a link")


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
