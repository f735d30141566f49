"""A cached directory of the Python packages that sandboxes may import.

It is made once per set of versions.

The files are hard links to the installed ones where the file system allows it. Byte code is compiled beside them in the
background: a sandbox cannot store byte code, and importing scikit-learn without byte code takes seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from aar.errors import SandboxUnavailable

_COMPILED = ".compiled"
_COMPILE_SECONDS = 900


def site_packages_tree(distributions: Sequence[str], target: str) -> Path:
    """Return the directory for these distributions and all their requirements.

    Blocks. The first call takes a second.

    Args:
        distributions: names as on PyPI; each must be installed beside `aar`.
        target: place of the directory inside; appears in tracebacks.

    Raises:
        SandboxUnavailable: one of them is not installed, or only as a link into a source tree.
    """
    found = _closure(distributions)
    cache = _cache()
    tree = cache / _key(found)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.is_dir():
            _link(found, tree)
            _compile(tree, target)
    return tree


def _cache() -> Path:
    chosen = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(chosen) if chosen else Path.home() / ".cache") / "aar" / "site"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _key(distributions: Sequence[metadata.Distribution]) -> str:
    parts = [sys.version, sys.base_prefix]
    parts += [f"{d.name}=={d.version}@{d.locate_file('')}" for d in distributions]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _link(distributions: Sequence[metadata.Distribution], tree: Path) -> None:
    making = Path(tempfile.mkdtemp(prefix="making-", dir=tree.parent))
    try:
        for distribution in distributions:
            for name, path in _top_level(distribution):
                if path.is_dir():
                    shutil.copytree(
                        path,
                        making / name,
                        copy_function=_link_or_copy,
                        ignore=shutil.ignore_patterns("__pycache__"),
                        dirs_exist_ok=True,
                    )
                else:
                    _link_or_copy(str(path), str(making / name))
        for folder in (making, *(p for p in making.rglob("*") if p.is_dir())):
            folder.chmod(0o755)
        making.rename(tree)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> str:
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
        Path(target).chmod(0o644)
    return target


def _compile(tree: Path, target: str) -> None:
    """Start compiling without waiting.

    Sandboxes work without byte code, only slower.
    """
    script = 'nice -n 19 timeout "$5" "$1" -I -m compileall -q -x /tests/ -s "$2" -p "$3" "$2" && : > "$2/$4"'
    values = [sys.executable, str(tree), target, _COMPILED, str(_COMPILE_SECONDS)]
    # A shell that ends at once leaves the compiler to init, so that no process has to wait for it.
    subprocess.run(
        ["/bin/sh", "-c", f"({script}) </dev/null >/dev/null 2>&1 &", "compile", *values],
        env={"PATH": os.environ.get("PATH", os.defpath)},
        start_new_session=True,
        check=True,
    )


def _closure(names: Sequence[str]) -> list[metadata.Distribution]:
    """Return these distributions and all their requirements on this Python and system."""
    found: dict[str, metadata.Distribution] = {}
    looked: set[tuple[str, frozenset[str]]] = set()
    todo = [_requirement(name) for name in names]
    while todo:
        wanted = todo.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in looked:
            continue
        looked.add((name, extras))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise SandboxUnavailable(
                f"the package {name}, which sandboxes need, is not installed beside aar",
                f"install it: pip install {name}",
            ) from None
        found[name] = distribution
        todo += _required(distribution, extras)
    return [found[name] for name in sorted(found)]


def _required(distribution: metadata.Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    for line in distribution.requires or ():
        requirement = _requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def _requirement(text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise SandboxUnavailable(
            f"a requirement is malformed: got {text!r}, expected a name as on PyPI ({str(error).splitlines()[0]})",
            "correct the name, or reinstall the package that requires it",
        ) from None


def _top_level(distribution: metadata.Distribution) -> list[tuple[str, Path]]:
    """Return names and places of a distribution's top-level packages and modules.

    Scripts are left out.
    """
    files = distribution.files or []
    names = sorted({file.parts[0] for file in files if file.parts[0] not in ("..", "/", "__pycache__")})
    found = [(name, Path(str(distribution.locate_file(name)))) for name in names]
    if all(name.endswith((".dist-info", ".pth", ".egg-link")) for name in names):
        raise SandboxUnavailable(
            f"the package {distribution.name} is installed as a link into a source tree",
            f"reinstall it: pip install --force-reinstall {distribution.name}",
        )
    return [(name, path) for name, path in found if path.exists() and not name.endswith(".pth")]
