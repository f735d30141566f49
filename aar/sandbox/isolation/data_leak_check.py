"""Search for copies of the problems' data files in everything visible to a sandbox.

The files are known by size and digest.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import subprocess
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from aar.errors import SandboxUnavailable
from aar.fsutil import user_cache_folder
from aar.sandbox.protocol import Mount

_CODE = (".py", ".pyi", ".md", ".yaml", ".yml", ".toml", ".txt", ".typed", ".pyc", ".html")
_SMALLEST = 64
"""Smallest data file that is compared, in bytes: trivial files exist everywhere."""
_ARCHIVES = (".whl", ".egg", ".zip", ".pyz")
_SOURCE_ARCHIVES = ("aar-*.tar.gz", "aar-*.tar.bz2", "aar-*.tar.xz")
_FRESH_SECONDS = 3600.0
_FIND_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class ProblemDataIndex:
    """Sizes and digests of the problems' data files.

    Args:
        digests: size -> SHA-256 digests.
        checksums: sizes with CRC-32, as archives list them for their members.
    """

    digests: dict[int, frozenset[str]]
    checksums: frozenset[tuple[int, int]]

    def is_copy(self, path: Path) -> bool:
        """Return True if a file is a copy of a data file."""
        try:
            found = path.lstat()
            digests = self.digests.get(found.st_size)
            if digests is None or not stat.S_ISREG(found.st_mode):
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() in digests
        except OSError:
            return False

    def is_in_archive(self, path: Path) -> bool:
        """Return True if a file is an archive that contains a data file.

        Tar archives of `aar` count by their name.
        """
        if path.suffix not in _ARCHIVES:
            return any(path.match(pattern) for pattern in _SOURCE_ARCHIVES)
        try:
            with zipfile.ZipFile(path) as archive:
                return any((entry.file_size, entry.CRC) in self.checksums for entry in archive.infolist())
        except (OSError, zipfile.BadZipFile):
            return False


@functools.cache
def problem_data_index() -> ProblemDataIndex:
    """Return the index of every data file that ships with the problems.

    Blocks. Cached for the life of the process.
    """
    digests: dict[int, set[str]] = {}
    checksums = set()
    for file in _files(resources.files("aar") / "problems"):
        if not file.name.endswith(_CODE):
            data = file.read_bytes()
            if len(data) >= _SMALLEST:
                digests.setdefault(len(data), set()).add(hashlib.sha256(data).hexdigest())
                checksums.add((len(data), zlib.crc32(data)))
    return ProblemDataIndex({size: frozenset(found) for size, found in digests.items()}, frozenset(checksums))


def check_visible_folders(folders: Sequence[Path], masked: Sequence[Path] = ()) -> None:
    """Search the folders that every sandbox sees for copies.

    Blocks: about a second for a whole ``/usr``.

    A clean result is cached for an hour, or until a folder near the top changes.

    Args:
        folders: host folders that are shown.
        masked: folders below them that are not.

    Raises:
        SandboxUnavailable: a copy is visible; names its place.
    """
    folders = [folder for folder in folders if folder.exists()]
    if not folders:
        return
    stamp = _stamp(folders, masked)
    with contextlib.suppress(FileNotFoundError):
        if time.time() - stamp.stat().st_mtime < _FRESH_SECONDS:
            return
    for path in _candidates(folders, masked):
        if problem_data_index().is_copy(path) or problem_data_index().is_in_archive(path):
            raise _visible(path)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    for old in stamp.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process removed it just then
            if time.time() - old.stat().st_mtime >= _FRESH_SECONDS:
                old.unlink()
    stamp.touch()


def check_mounts(mounts: Iterable[Mount]) -> None:
    """Search the mounts of one sandbox for copies.

    Blocks for some milliseconds. Raises SandboxUnavailable.
    """
    for mount in mounts:
        for folder, _folders, names in os.walk(mount.source):
            for name in names:
                path = Path(folder, name)
                if problem_data_index().is_copy(path):
                    raise _visible(path)


def _visible(path: Path) -> SandboxUnavailable:
    return SandboxUnavailable(
        f"a problem's hidden data would be visible in every sandbox, at {path}",
        "move that copy out of the folder, or install aar elsewhere",
    )


def _stamp(folders: Sequence[Path], masked: Sequence[Path]) -> Path:
    """Return the file that caches a clean result for these folders.

    It depends on their state near their top.
    """
    known = problem_data_index()
    parts = [f"{folder} {mtime}" for folder in folders for mtime in _times(folder)]
    parts += [f"without {folder}" for folder in sorted(masked)]
    parts += [digest for size in sorted(known.digests) for digest in sorted(known.digests[size])]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    return user_cache_folder("clean") / key


def _times(folder: Path) -> Iterator[str]:
    yield str(folder.stat().st_mtime_ns)
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                yield f"{entry.name} {entry.stat(follow_symlinks=False).st_mtime_ns}"


def _candidates(folders: Sequence[Path], masked: Sequence[Path]) -> list[Path]:
    """Return files of a known size, and archives.

    ``find`` is several times faster than a walk in Python.
    """
    tests = [test for size in problem_data_index().digests for test in ("-o", "-size", f"{size}c")]
    for name in (*(f"*{suffix}" for suffix in _ARCHIVES), *_SOURCE_ARCHIVES):
        tests += ["-o", "-name", name]
    pruned = [test for folder in masked for test in ("-path", _literal(folder), "-prune", "-o")]
    vector = ["find", *map(str, folders), *pruned, "-type", "f", "(", *tests[1:], ")", "-print0"]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    try:
        with tempfile.TemporaryFile() as listed:
            done = subprocess.run(
                vector, stdout=listed, stderr=subprocess.DEVNULL, env=environment, timeout=_FIND_SECONDS, check=False
            )
            listed.seek(0)
            names = listed.read().split(b"\0")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(
            f"folders shown in sandboxes cannot be searched: {error}", "install findutils"
        ) from error
    if done.returncode not in (0, 1):  # 1: a folder that vanished meanwhile, or may not be read
        raise SandboxUnavailable("folders shown in sandboxes cannot be searched: find failed", "install findutils")
    return [Path(os.fsdecode(name)) for name in names if name]


def _literal(path: Path) -> str:
    """Return a pattern that matches one path alone."""
    return "".join(f"\\{letter}" if letter in "*?[\\" else letter for letter in str(path))


def _files(folder: Traversable) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry)
        else:
            yield entry
