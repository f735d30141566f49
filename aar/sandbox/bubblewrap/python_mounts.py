"""Mounts of the host's Python and selected packages, without anything else that is installed.

The Python that runs `aar` is shown at ``/opt/python`` (or as part of ``/usr``) with every package folder masked, and
with all other folders masked that may contain `aar` itself, because the hidden labels are there: other problems, homes
and caches. Of the packages that a problem names, and of those they require, only their own files are shown, below
``/opt/site``. The shown files are searched for copies of the labels.

The directory of packages is cached, made once per set of versions. Its files are hard links to the installed ones where
the file system allows it. Byte code is compiled beside them in the background: a sandbox cannot store byte code, and
importing scikit-learn without byte code takes seconds.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from aar.errors import SandboxUnavailable
from aar.fsutil import user_cache_folder
from aar.problems.registry import installed_problems
from aar.sandbox.isolation.data_leak_check import check_visible_folders
from aar.settings import get_settings

_CACHES = ("XDG_CACHE_HOME", "PIP_CACHE_DIR", "UV_CACHE_DIR")
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
SITE = "/opt/site"
"""Place of the packages inside, an entry of PYTHONPATH."""
PYTHON = "/opt/python"
BIN = "/opt/bin"
"""Folder of ``python`` and ``python3``, first in PATH."""
DEFAULT_DISTRIBUTIONS = ("numpy", "scipy", "scikit-learn")
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "share")
_PYTHON_PARTS = ("bin", "lib", "lib64")
_COMPILE_SECONDS = 900


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
    cache = user_cache_folder("site")
    cache.mkdir(parents=True, exist_ok=True)
    tree = cache / _key(found)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.is_dir():
            _link(found, tree)
            _compile(tree, target)
    return tree


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
    script = 'nice -n 19 timeout "$4" "$1" -I -m compileall -q -x /tests/ -s "$2" -p "$3" "$2"'
    values = [sys.executable, str(tree), target, str(_COMPILE_SECONDS)]
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
