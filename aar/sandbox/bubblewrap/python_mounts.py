"""Mounts of the host's Python and selected packages, without anything else that is installed.

The Python that runs `aar` is shown at ``/opt/python`` (or as part of ``/usr``) with every package folder masked, and
with all other folders masked that may contain `aar` itself, because the hidden labels are there. Of the packages that a
problem names, and of those they require, only their own files are shown, below ``/opt/site``. The shown files are
searched for copies of the labels.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from aar.sandbox.bubblewrap.hidden_folders import hidden_folders
from aar.sandbox.bubblewrap.site_packages import site_packages_tree
from aar.sandbox.isolation.data_leak_check import check_visible_folders

SITE = "/opt/site"
"""Place of the packages inside, an entry of PYTHONPATH."""
PYTHON = "/opt/python"
BIN = "/opt/bin"
"""Folder of ``python`` and ``python3``, first in PATH."""
DEFAULT_DISTRIBUTIONS = ("numpy", "scipy", "scikit-learn")
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "share")
_PYTHON_PARTS = ("bin", "lib", "lib64")
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")


@functools.cache
def python_mounts(distributions: Sequence[str] = DEFAULT_DISTRIBUTIONS) -> tuple[str, ...]:
    """Build bwrap arguments that show programs, libraries, Python and the distributions, read-only.

    Blocks.

    Args:
        distributions: names as on PyPI; their requirements are included.

    Raises:
        SandboxUnavailable: one of them is not installed beside `aar`, or only as a link into a source tree; or a
            problem's hidden data would be visible.
    """
    tree = site_packages_tree(distributions, SITE)
    shown = _shown()
    masked = _masked(shown)
    check_visible_folders([*shown, tree], masked)
    masks = [argument for place in masked for target in _targets(place, shown) for argument in _mask(target)]
    return (*_system(), *_python(), *masks, *directory_arguments(SITE), "--ro-bind", str(tree), SITE)


def _shown() -> dict[Path, PurePosixPath]:
    """Return the host folders that are shown, links resolved, and their targets."""
    shown = {}
    for name in _SYSTEM:
        for folder in (Path("/usr", name), Path("/", name)):
            if folder.is_dir() and not folder.is_symlink():
                shown[folder] = PurePosixPath(folder)
    prefix = Path(sys.base_prefix).resolve()
    if prefix != Path("/usr"):
        for name in _PYTHON_PARTS:
            if (prefix / name).is_dir() and not (prefix / name).is_symlink():
                shown[prefix / name] = PurePosixPath(PYTHON, name)
    return shown


def _masked(shown: Mapping[Path, PurePosixPath]) -> list[Path]:
    """Return host folders below a shown one that are hidden, none below another."""
    wanted = hidden_folders()
    for folder in shown:
        if folder.name.startswith("lib"):
            wanted += _package_folders(folder)
    masked: list[Path] = []
    for place in sorted(set(wanted), key=lambda place: len(place.parts)):
        if _targets(place, shown) and not any(place.is_relative_to(other) for other in masked):
            masked.append(place)
    return masked


def _targets(place: Path, shown: Mapping[Path, PurePosixPath]) -> list[PurePosixPath]:
    """Return the places inside where a host folder would be visible.

    There is one below each shown folder that contains it.
    """
    return [
        target / place.relative_to(source)
        for source, target in shown.items()
        if place.is_relative_to(source) and place != source
    ]


def _mask(place: PurePosixPath) -> list[str]:
    return ["--tmpfs", str(place), "--remount-ro", str(place)]


def _system() -> list[str]:
    arguments = directory_arguments("/usr")
    for name in _SYSTEM:
        usr, top = Path("/usr") / name, Path("/") / name
        if usr.is_dir() and not usr.is_symlink():
            arguments += ["--ro-bind", str(usr), str(usr)]
        if top.is_symlink():
            arguments += ["--symlink", str(top.readlink()), str(top)]
        elif top.is_dir():
            arguments += ["--ro-bind", str(top), str(top)]
    return arguments


def base_python() -> Path:
    """Return the interpreter behind `aar`'s virtual environment, all links resolved."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def _python() -> list[str]:
    executable, prefix = base_python(), Path(sys.base_prefix).resolve()
    if prefix == Path("/usr"):
        return _named(executable)
    arguments = ["--tmpfs", PYTHON]
    for source, target in _shown().items():
        if target.is_relative_to(PYTHON):
            arguments += ["--ro-bind", str(source), str(target)]
    return [*arguments, *_named(Path(PYTHON) / executable.relative_to(prefix))]


def library_path() -> str:
    """Return LD_LIBRARY_PATH for a relocated Python, or an empty string.

    It is needed where the shared library is shown at another place than it was built for.
    """
    moved = Path(sys.base_prefix).resolve() != Path("/usr")
    return f"{PYTHON}/lib" if moved and any(Path(sys.base_prefix, "lib").glob("libpython3*.so*")) else ""


def _named(executable: Path) -> list[str]:
    links = [["--symlink", str(executable), f"{BIN}/{name}"] for name in ("python", "python3")]
    return [*directory_arguments(BIN), *links[0], *links[1]]


def directory_arguments(path: str) -> list[str]:
    """Build arguments that make a directory and its parents readable by every uid.

    The parents that bwrap makes by itself are closed to others.
    """
    parents = [str(parent) for parent in reversed(PurePosixPath(path).parents)][1:]
    return [argument for name in (*parents, path) for argument in ("--perms", "0755", "--dir", name)]


def _package_folders(library: Path) -> list[Path]:
    if library.is_symlink():
        return []
    candidates = [library / name for name in _PACKAGE_FOLDERS]
    for version in library.glob("python3*"):
        candidates += [version / name for name in _PACKAGE_FOLDERS]
    return sorted(folder for folder in candidates if folder.is_dir() and not folder.is_symlink())
