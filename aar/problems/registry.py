"""Finds problems: by the name of an entry point in the group ``aar.problems``, or by the path of a folder.

A folder holds ``problem.py`` with one class that keeps the ``Problem`` protocol; the class is made without arguments.
Modules beside ``problem.py`` can be imported from it with a leading dot.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from aar.errors import NotFound, ProblemError
from aar.problems.protocol import Problem

GROUP = "aar.problems"


@dataclass(frozen=True, slots=True)
class Installed:
    """A problem that is installed: the name that ``find`` takes, and where it comes from.

    Args:
        name: of the entry point.
        target: ``module:Class``.
        distribution: the package that brings it, with its version.
    """

    name: str
    target: str
    distribution: str


def available() -> list[Installed]:
    """The installed problems by name; nothing of them is imported."""
    return [
        Installed(entry.name, entry.value, f"{entry.dist.name} {entry.dist.version}" if entry.dist else "")
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    ]


def find(name_or_path: str | Path) -> Problem:
    """The problem of that name, or in that folder.

    Anything that contains a path separator, begins with a dot or tilde, or is a ``Path`` is a path.

    Raises:
        NotFound: no such problem; the nearest name is suggested.
        ProblemError: the plug-in cannot be loaded or does not keep the protocol; the cause is chained.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.startswith((".", "~")):
        return _from_folder(Path(text).expanduser())
    entries = entry_points(group=GROUP, name=text)
    if not entries:
        raise _unknown(text)
    return _from_entry_point(next(iter(entries)))


def _unknown(name: str) -> NotFound:
    names = [problem.name for problem in available()]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    listed = ", ".join(names) or "none"
    return NotFound(f"no problem named {name!r}", f"{hint}Installed: {listed}; a folder goes by its path (./{name})")


def _from_entry_point(entry: EntryPoint) -> Problem:
    try:
        made = entry.load()()
    except Exception as error:
        raise ProblemError(
            f"problem {entry.name!r} ({entry.value}) cannot be loaded: {type(error).__name__}: {error}",
            "Reinstall or update the package that brings it",
        ) from error
    return _kept(made, f"problem {entry.name!r} ({entry.value})")


def _from_folder(folder: Path) -> Problem:
    source = folder / "problem.py"
    if not source.is_file():
        raise NotFound(f"no problem at {folder}: it has no problem.py", "Copy aar/problems/toy to start your own")
    try:
        module = _load_package(folder.resolve())
        classes = [
            member
            for _, member in inspect.getmembers(module, inspect.isclass)
            if member.__module__ == module.__name__ and hasattr(member, "prepare") and hasattr(member, "score")
        ]
        if len(classes) == 1:
            return _kept(classes[0](), str(source))
    except ProblemError:
        raise
    except Exception as error:
        raise ProblemError(
            f"{source} cannot be loaded: {type(error).__name__}: {error}", "Run it with python to see the whole trace"
        ) from error
    found = ", ".join(sorted(member.__name__ for member in classes)) or "none"
    raise ProblemError(f"{source} must define one class with prepare and score; found: {found}")


def _load_package(folder: Path) -> ModuleType:
    """Import ``folder/problem.py`` as a module of a package named after the folder, so that relative imports work."""
    package_name = f"aar_problem_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    if package_name not in sys.modules:
        package = ModuleType(package_name)
        package.__path__ = [str(folder)]
        sys.modules[package_name] = package
    name = f"{package_name}.problem"
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    spec = importlib.util.spec_from_file_location(name, folder / "problem.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _kept(made: object, what: str) -> Problem:
    if isinstance(made, Problem):
        return made
    promised = [name for name in vars(Problem) if not name.startswith("_")] + list(Problem.__annotations__)
    missing = sorted({name for name in promised if not hasattr(made, name)})
    raise ProblemError(f"{what} does not keep the Problem protocol: it lacks {', '.join(missing)}")
