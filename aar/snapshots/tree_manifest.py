"""The manifest of a snapshot: a sorted list of files that names it.

The digest of a snapshot is the SHA-256 of its manifest, and the manifest holds each file's relative name, executable
bit, size and SHA-256. So the same content always has the same name, on every machine and in every order of reading.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from aar.errors import DataMissing, TransferRefused

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_MAX_NAME_BYTES = 1024


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
