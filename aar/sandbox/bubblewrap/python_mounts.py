"""The host's Python and a few of its packages, shown inside without anything else that is installed.

The Python that runs `aar` is shown at ``/opt/python`` (or as part of ``/usr``) with every package folder masked: one
of them holds `aar` itself, and with it hidden labels. Of the packages that a problem names, and of those they require,
only their own files are shown, below ``/opt/site``.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path, PurePosixPath

from aar.sandbox.bubblewrap.site import site_tree

SITE = "/opt/site"
"""Where the packages are shown; goes into PYTHONPATH."""
PYTHON = "/opt/python"
BIN = "/opt/bin"
"""Holds ``python`` and ``python3``; first in PATH."""
DEFAULT_DISTRIBUTIONS = ("numpy", "scipy", "scikit-learn")
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "share")
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")


@functools.cache
def python_mounts(distributions: Sequence[str] = DEFAULT_DISTRIBUTIONS) -> tuple[str, ...]:
    """Arguments for bwrap that show Python and the distributions, read-only.

    Args:
        distributions: names as on PyPI; what they require comes along.

    Raises:
        SandboxUnavailable: one of them is not installed beside `aar`, or only as a link into a source tree.
    """
    return (*_python(), *_mask_ourselves(), *directory(SITE), "--ro-bind", str(site_tree(distributions, SITE)), SITE)


def system_mounts() -> list[str]:
    """Arguments for bwrap that show the host's programs and libraries, without any Python package of the host."""
    arguments = directory("/usr")
    for name in _SYSTEM:
        usr, top = Path("/usr") / name, Path("/") / name
        if usr.is_dir() and not usr.is_symlink():
            arguments += ["--ro-bind", str(usr), str(usr)]
        if top.is_symlink():
            arguments += ["--symlink", str(top.readlink()), str(top)]
        elif top.is_dir():
            arguments += ["--ro-bind", str(top), str(top)]
    for folder in (*_package_folders(Path("/usr/lib")), *_package_folders(Path("/usr/lib64"))):
        arguments += ["--tmpfs", str(folder)]
    return arguments


def base_python() -> Path:
    """The interpreter behind the virtual environment that `aar` runs in, all links resolved."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def _python() -> list[str]:
    executable, prefix = base_python(), Path(sys.base_prefix).resolve()
    if prefix == Path("/usr"):
        return _named(executable)
    arguments = ["--tmpfs", PYTHON]
    for name in ("bin", "lib", "lib64"):
        part = prefix / name
        if part.is_dir() and not part.is_symlink():
            arguments += ["--ro-bind", str(part), f"{PYTHON}/{name}"]
    for folder in (*_package_folders(prefix / "lib"), *_package_folders(prefix / "lib64")):
        arguments += ["--tmpfs", f"{PYTHON}/{folder.relative_to(prefix)}"]
    return [*arguments, *_named(Path(PYTHON) / executable.relative_to(prefix))]


def library_path() -> str:
    """LD_LIBRARY_PATH for a Python whose shared library is shown at another place than it was built for; or empty."""
    moved = Path(sys.base_prefix).resolve() != Path("/usr")
    return f"{PYTHON}/lib" if moved and any(Path(sys.base_prefix, "lib").glob("libpython3*.so*")) else ""


def _mask_ourselves() -> list[str]:
    """Where `aar` lies inside something that is shown, outside any package folder: hide it, its data is in there."""
    package = Path(str(resources.files("aar"))).resolve()
    shown = {Path("/usr", name): Path("/usr", name) for name in _SYSTEM}
    shown |= {Path(sys.base_prefix).resolve() / name: Path(PYTHON, name) for name in ("bin", "lib", "lib64")}
    for source, target in shown.items():
        if package.is_relative_to(source) and not any(part in _PACKAGE_FOLDERS for part in package.parts):
            return ["--tmpfs", str(target / package.relative_to(source))]
    return []


def _named(executable: Path) -> list[str]:
    links = [["--symlink", str(executable), f"{BIN}/{name}"] for name in ("python", "python3")]
    return [*directory(BIN), *links[0], *links[1]]


def directory(path: str) -> list[str]:
    """Arguments that make a directory and its parents open to every uid; bwrap's own parents are closed to others."""
    parents = [str(parent) for parent in reversed(PurePosixPath(path).parents)][1:]
    return [argument for name in (*parents, path) for argument in ("--perms", "0755", "--dir", name)]


def _package_folders(library: Path) -> list[Path]:
    if library.is_symlink():
        return []
    candidates = [library / name for name in _PACKAGE_FOLDERS]
    for version in library.glob("python3*"):
        candidates += [version / name for name in _PACKAGE_FOLDERS]
    return sorted(folder for folder in candidates if folder.is_dir() and not folder.is_symlink())
