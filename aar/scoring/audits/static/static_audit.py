"""The static audit: reads frozen code before it runs; flags and never disqualifies."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from aar.errors import BoundExceeded
from aar.problems.protocol import Problem
from aar.scoring.audits.protocol import AuditInput, AuditResult, AuditStage, AuditVerdict
from aar.scoring.audits.static.code_rules import LiteralCounts, Violation, check_syntax_tree
from aar.scoring.audits.static.content_rules import check_file_contents, check_literals
from aar.scoring.audits.static.syntax_digest import syntax_digest
from aar.scoring.phases import Phase
from aar.scoring.submissions.method_manifest import ENTRY_POINT
from aar.workers.worker_pool import run_in_worker

MAX_READ_BYTES = 200_000
"""Of all files together; the entry point comes first."""
READ_SECONDS = 20.0
_MOST_HITS = 50
_MOST_FILES = 2_000


@dataclass(frozen=True, slots=True)
class StaticReport:
    """The report of one static reading.

    Args:
        hits: by rule, file and line; at most fifty.
        shape: a digest of the syntax trees, a hint for people; empty where not all of the code could be read.
    """

    hits: Sequence[Violation]
    shape: str = ""


class StaticAudit:
    """Reads a submission's files and flags suspicious code.

    It searches for network access, processes, paths, hidden code and tables.

    A static reading can be evaded with enough effort, and honest code may look suspicious, so it only points people to
    code worth a check. The sandbox, fresh splits and the confirmation hold without it.
    """

    name = "static"
    stage = AuditStage.SUBMITTED

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """Return no phases: the audit needs no runs."""
        return ()

    async def judge(self, dossier: AuditInput) -> AuditResult:
        """Read the code in a process with limits of time and memory."""
        known = list_modules(dossier.problem.lab())
        try:
            return audit_result(await run_in_worker(check_code, dossier.code.absolute(), known, seconds=READ_SECONDS))
        except BoundExceeded as error:
            what = f"the code cannot be read within its limits ({error.cause})"
            return audit_result(StaticReport([Violation("static.unreadable", ENTRY_POINT, 1, what)]))


def list_modules(folder: Path) -> frozenset[str]:
    """List the modules and packages in a folder of the import path."""
    return frozenset(path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir())


def check_code(directory: Path, known: Collection[str] = ()) -> StaticReport:
    """Read a method's files; nothing is imported or run, and links are not followed.

    Args:
        directory: the frozen code.
        known: modules that runs can import beside Python's own, the method's and well-known packages.
    """
    code, others = _listed(directory)
    own = {name.partition("/")[0].removesuffix(".py") for name in code}
    inner = {part.removesuffix(".py") for name in code for part in name.split("/")}
    hits = list(check_file_contents(directory, code, others))
    seen, trees, left = LiteralCounts(), dict[str, ast.Module](), MAX_READ_BYTES
    for name, size in code.items():
        left -= size
        try:
            if left < 0:
                raise OverflowError
            trees[name] = _parsed(directory / name)
            hits += check_syntax_tree(name, trees[name], own, {*known, *inner}, seen)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            what = "more code than is read" if isinstance(error, OverflowError) else "Python code that cannot be read"
            hits.append(Violation("static.unreadable", name, 1, what))
            left = -1 if isinstance(error, OverflowError) else left
    hits += check_literals(seen)
    unread = any(hit.rule == "static.unreadable" for hit in hits)
    unique = sorted(set(hits), key=lambda hit: (hit.rule, hit.file, hit.line, hit.what))
    return StaticReport(unique[:_MOST_HITS], "" if unread else syntax_digest(directory, trees, others))


def audit_result(reading: StaticReport) -> AuditResult:
    """Turn a static report into the audit's result."""
    evidence = {
        "hits": [{"rule": hit.rule, "file": hit.file, "line": hit.line, "what": hit.what} for hit in reading.hits],
        "shape": reading.shape,
    }
    if not reading.hits:
        return AuditResult(StaticAudit.name, AuditVerdict.PASSED, "", "nothing found", evidence)
    first, more = reading.hits[0], len(reading.hits) - 1
    reason = f"{first.file}:{first.line}: {first.what}" + (f"; {more} more" if more else "")
    return AuditResult(StaticAudit.name, AuditVerdict.FLAGGED, first.rule, reason, evidence)


def _parsed(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(path.read_bytes())


def _listed(directory: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Return the sizes of Python files and of others, by path.

    ``__pycache__`` is left out: it is never copied into a run.
    """
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
