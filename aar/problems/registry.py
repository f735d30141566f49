"""Problem lookup: by entry point name in the group ``aar.problems``, or by folder.

A folder holds ``problem.py`` with one class that implements the ``Problem`` protocol; the class is made without
arguments. Modules beside ``problem.py`` can be imported from it with a leading dot.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import os
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from aar.errors import NotFound, ProblemError
from aar.problems.protocol import Problem, SizedProblem

GROUP = "aar.problems"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_strong_references: list[Problem] = []
"""Problems without weak references: if one were freed, another object could take its identity."""


@dataclass(frozen=True, slots=True)
class InstalledProblem:
    """An installed problem: its name for ``find_problem``, and its origin.

    Args:
        name: of the entry point.
        target: ``module:Class``.
        distribution: the package that provides it, with its version.
    """

    name: str
    target: str
    distribution: str


def installed_problems() -> list[InstalledProblem]:
    """Return the installed problems by name, without importing them."""
    return [
        InstalledProblem(entry.name, entry.value, f"{entry.dist.name} {entry.dist.version}" if entry.dist else "")
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    ]


def ships(name_or_path: str) -> bool:
    """Return True if a problem is part of this package.

    Importing such a problem does not block.
    """
    return any(each.name == name_or_path and each.target.startswith("aar.") for each in installed_problems())


@dataclass(frozen=True, slots=True)
class ProblemOrigin:
    """Instructions to make the same problem in another process.

    Args:
        reference: argument of ``find_problem``.
        small: True for that problem's small size.
    """

    reference: str
    small: bool = False


@dataclass(frozen=True, slots=True)
class _Made:
    origin: ProblemOrigin
    attributes: frozenset[str]


_made: dict[int, _Made] = {}
"""The live problems of this process, by identity."""


def find_problem(name_or_path: str | Path) -> Problem:
    """Return the problem of that name, or in that folder.

    Anything that contains a path separator, begins with a dot or tilde, or is a ``Path`` is a path.

    Raises:
        NotFound: no such problem; the nearest name is suggested.
        ProblemError: the plug-in cannot be loaded or does not implement the protocol; the cause is chained.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.startswith((".", "~")):
        folder = Path(text).expanduser()
        return _registered(_from_folder(folder), ProblemOrigin(str(folder.absolute())))
    entries = entry_points(group=GROUP, name=text)
    if not entries:
        raise _unknown(text)
    return _registered(_from_entry_point(next(iter(entries))), ProblemOrigin(text))


def small_problem(problem: Problem) -> Problem:
    """Return the problem at its small size, or itself where it has none.

    Raises:
        ProblemError: its small size is not a problem.
    """
    if not isinstance(problem, SizedProblem):
        return problem
    made, origin = _checked(problem.small(), f"the small size of problem {problem.name}"), origin_of(problem)
    return made if origin is None else _registered(made, ProblemOrigin(origin.reference, small=True))


def origin_of(problem: Problem) -> ProblemOrigin | None:
    """Return the origin of a problem, for another process.

    None where it was not found by a name or folder, or changed since.
    """
    made = _made.get(id(problem))
    if made is None:
        return None
    for name in _attributes(problem) - made.attributes:
        if not name.startswith("_") and not isinstance(getattr(type(problem), name, None), cached_property):
            return None
    return made.origin


def locate_error(error: BaseException, problem: Problem | Path) -> str:
    """Return the place of an error in a problem's own code, such as ``problem.py:31``.

    The innermost place is returned where the error did not arise in that code.
    """
    folder = problem if isinstance(problem, Path) else _folder_of(problem)
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    inside = [each for each in frames if folder is not None and each[0].is_relative_to(folder)]
    if not (inside or frames):
        return ""
    path, line = (inside or frames)[-1]
    return f"{path.relative_to(folder) if inside and folder is not None else path.name}:{line}"


def _folder_of(problem: Problem) -> Path | None:
    source = getattr(sys.modules.get(type(problem).__module__), "__file__", None)
    return Path(source).parent if source else None


def _registered(problem: Problem, origin: ProblemOrigin) -> Problem:
    number = id(problem)
    _made[number] = _Made(origin, _attributes(problem))
    try:
        weakref.finalize(problem, _made.pop, number, None).atexit = False
    except TypeError:
        _made[number] = _Made(origin, frozenset())
        _strong_references.append(problem)
    return problem


def _attributes(problem: Problem) -> frozenset[str]:
    return frozenset(getattr(problem, "__dict__", {}))


def _unknown(name: str) -> NotFound:
    names = [problem.name for problem in installed_problems()]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    listed = ", ".join(names) or "none"
    return NotFound(f"no problem named {name!r}", f"{hint}Installed: {listed}; a folder goes by its path (./{name})")


def _from_entry_point(entry: EntryPoint) -> Problem:
    try:
        with _isolated():
            made = entry.load()()
    except (Exception, SystemExit) as error:
        raise ProblemError(
            f"problem {entry.name!r} ({entry.value}) cannot be loaded: {type(error).__name__}: {error}",
            "Reinstall or update the package that provides it",
        ) from error
    return _checked(made, f"problem {entry.name!r} ({entry.value})")


def _from_folder(folder: Path) -> Problem:
    source = folder / "problem.py"
    if not source.is_file():
        raise NotFound(f"no problem at {folder}: it has no problem.py", "Copy aar/problems/toy to start your own")
    try:
        with _isolated():
            module = _load_package(folder.resolve())
        classes = [
            member
            for _, member in inspect.getmembers(module, inspect.isclass)
            if member.__module__ == module.__name__ and hasattr(member, "prepare") and hasattr(member, "score")
        ]
        if len(classes) == 1:
            with _isolated():
                made = classes[0]()
            return _checked(made, str(source))
    except ProblemError:
        raise
    except (Exception, SystemExit) as error:
        at = locate_error(error, folder.resolve())
        raise ProblemError(
            f"{source} cannot be loaded: {type(error).__name__}: {error}" + (f" ({at})" if at else ""),
            "Run it with python to see the whole trace",
        ) from error
    found = ", ".join(sorted(member.__name__ for member in classes)) or "none"
    raise ProblemError(f"{source} must define one class with prepare and score; found: {found}")


@contextmanager
def _isolated() -> Iterator[None]:
    """Isolate this process from the start of foreign code.

    Its output goes to standard error, because standard output is read by programs. The folder and signals are restored.
    """
    folder, signals = None, {}
    with suppress(OSError):  # the current folder may be gone
        folder = Path.cwd()
    if threading.current_thread() is threading.main_thread():
        signals = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if folder is not None:
            with suppress(OSError):
                os.chdir(folder)
        for number, handler in signals.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _load_package(folder: Path) -> ModuleType:
    """Import ``folder/problem.py`` as a package module, so that relative imports work.

    The package is named after the folder.
    """
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


def _checked(made: object, what: str) -> Problem:
    if isinstance(made, Problem):
        return made
    promised = [name for name in vars(Problem) if not name.startswith("_")] + list(Problem.__annotations__)
    missing = sorted({name for name in promised if not hasattr(made, name)})
    raise ProblemError(f"{what} does not implement the Problem protocol: it lacks {', '.join(missing)}")
