"""Host folders hidden from every sandbox: `aar` itself, other problems, homes and caches."""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from aar.problems.registry import installed_problems
from aar.settings import get_settings

_CACHES = ("XDG_CACHE_HOME", "PIP_CACHE_DIR", "UV_CACHE_DIR")
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")


def hidden_folders() -> list[Path]:
    """Return the hidden folders that exist, links resolved.

    A zip archive on the import path counts as its folder.
    """
    found = set()
    for place in _places():
        place = place.resolve()
        if place.is_file():
            place = place.parent
        if place.is_dir():
            found.add(place)
    return sorted(found)


def _places() -> Iterator[Path]:
    package = Path(str(resources.files("aar")))
    yield package
    if (package.parent / "pyproject.toml").is_file():  # an editable installation: the history holds the data too
        yield package.parent
    yield from _installed_problems()
    prefix, base = Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()
    if not base.is_relative_to(prefix):
        yield prefix
    yield from (Path(folder) for folder in (*site.getsitepackages(), site.getusersitepackages()))
    yield from (folder for folder in map(Path, sys.path) if folder.is_absolute() and not _is_standard(folder))
    yield from (Path.home(), get_settings().home.absolute(), Path(tempfile.gettempdir()))
    yield from (Path(os.environ[name]) for name in _CACHES if os.environ.get(name))


def _installed_problems() -> Iterator[Path]:
    """Yield the packages that provide problems, without importing them."""
    for problem in installed_problems():
        try:
            spec = importlib.util.find_spec(problem.target.partition(":")[0].partition(".")[0])
        except (ImportError, ValueError):
            continue
        if spec is not None and spec.submodule_search_locations is not None:
            yield from map(Path, spec.submodule_search_locations)
        elif spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent


def _is_standard(folder: Path) -> bool:
    """Return True if an import path folder is Python's own library or contains it."""
    if any(part in _PACKAGE_FOLDERS for part in folder.parts):
        return False
    own = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    return any(folder.is_relative_to(each) or each.is_relative_to(folder) for each in own) or folder.suffix == ".zip"
