"""Static reading: what the frozen code itself shows, before any of it runs. It flags and never takes anything away."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from aar.errors import BoundExceeded
from aar.problems.protocol import Problem
from aar.scoring.audits.protocol import Dossier, Finding, Moment, Verdict
from aar.scoring.audits.static.code_rules import Hit, Literals, read_tree
from aar.scoring.audits.static.content_rules import judge_literals, read_files
from aar.scoring.audits.static.syntax_digest import shape_of
from aar.scoring.phases import Phase
from aar.scoring.submissions.method_manifest import ENTRY_POINT
from aar.workers.worker_pool import run_in_worker

MAX_READ_BYTES = 200_000
"""Of all files together; the entry point comes first."""
READ_SECONDS = 20.0
_MOST_HITS = 50
_MOST_FILES = 2_000


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reading came to.

    Args:
        hits: by rule, file and line; at most fifty.
        shape: a digest of the syntax trees, a hint for people; empty where not all of the code could be read.
    """

    hits: Sequence[Hit]
    shape: str = ""


class StaticReading:
    """Reads a submission's files for network, processes, paths, hidden code and tables, and flags what it finds.

    Anybody who tries for long enough can evade a reading, and honest code may look odd: so it only shows people where
    to look. The sandbox, fresh splits and the confirmation hold without it.
    """

    name = "static"
    moment = Moment.SUBMITTED

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """None: it needs no run."""
        return ()

    async def judge(self, dossier: Dossier) -> Finding:
        """Read the code, in a process with limits of time and memory."""
        known = modules_in(dossier.problem.lab())
        try:
            return finding(await run_in_worker(read_code, dossier.code.absolute(), known, seconds=READ_SECONDS))
        except BoundExceeded as error:
            what = f"the code cannot be read within its limits ({error.cause})"
            return finding(Reading([Hit("static.unreadable", ENTRY_POINT, 1, what)]))


def modules_in(folder: Path) -> frozenset[str]:
    """Names of the modules and packages that lie in a folder of the import path."""
    return frozenset(path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir())


def read_code(directory: Path, known: Collection[str] = ()) -> Reading:
    """Read a method's files. Nothing is imported or run, and links are not followed.

    Args:
        directory: the frozen code.
        known: modules that runs can import beside Python's own, the method's and well-known packages.
    """
    code, others = _listed(directory)
    own = {name.partition("/")[0].removesuffix(".py") for name in code}
    inner = {part.removesuffix(".py") for name in code for part in name.split("/")}
    hits = list(read_files(directory, code, others))
    seen, trees, left = Literals(), dict[str, ast.Module](), MAX_READ_BYTES
    for name, size in code.items():
        left -= size
        try:
            if left < 0:
                raise OverflowError
            trees[name] = _parsed(directory / name)
            hits += read_tree(name, trees[name], own, {*known, *inner}, seen)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            what = "more code than is read" if isinstance(error, OverflowError) else "Python code that cannot be read"
            hits.append(Hit("static.unreadable", name, 1, what))
            left = -1 if isinstance(error, OverflowError) else left
    hits += judge_literals(seen)
    unread = any(hit.rule == "static.unreadable" for hit in hits)
    unique = sorted(set(hits), key=lambda hit: (hit.rule, hit.file, hit.line, hit.what))
    return Reading(unique[:_MOST_HITS], "" if unread else shape_of(directory, trees, others))


def finding(reading: Reading) -> Finding:
    """The audit's answer to a reading."""
    evidence = {
        "hits": [{"rule": hit.rule, "file": hit.file, "line": hit.line, "what": hit.what} for hit in reading.hits],
        "shape": reading.shape,
    }
    if not reading.hits:
        return Finding(StaticReading.name, Verdict.PASSED, "", "nothing found", evidence)
    first, more = reading.hits[0], len(reading.hits) - 1
    reason = f"{first.file}:{first.line}: {first.what}" + (f"; {more} more" if more else "")
    return Finding(StaticReading.name, Verdict.FLAGGED, first.rule, reason, evidence)


def _parsed(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(path.read_bytes())


def _listed(directory: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Sizes of Python files and of others, by their paths; ``__pycache__`` is never laid out for a run."""
    code: dict[str, int] = {}
    others: dict[str, int] = {}
    for parent, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for path in sorted(Path(parent, name) for name in names):
            if path.is_symlink() or not path.is_file() or len(code) + len(others) >= _MOST_FILES:
                continue
            listed = code if path.suffix in (".py", ".pyw") else others
            listed[path.relative_to(directory).as_posix()] = path.stat().st_size
    return dict(sorted(code.items(), key=lambda item: item[0] != ENTRY_POINT)), others
