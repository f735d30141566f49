"""The static audit: reads frozen code before it runs; flags and never disqualifies."""

from __future__ import annotations

import ast
import hashlib
import os
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aar.errors import BoundExceeded
from aar.problems.protocol import Problem
from aar.scoring.audits.code_rules import LiteralCounts, Violation, check_syntax_tree
from aar.scoring.audits.protocol import AuditInput, AuditResult, AuditStage, AuditVerdict
from aar.scoring.method_manifest import ENTRY_POINT, MANIFEST_FILE
from aar.scoring.phases import Phase
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


MAX_NUMBERS = 150
"""Written-out numbers that are flagged, all lists together; the largest shipped method has under 40."""
MAX_VALUES = 400
ENCODED_CHARACTERS = 400
PROSE_CHARACTERS = 20_000
BINARY_BYTES = 512
TEXT_BYTES = 16 * 1024
CODE_BYTES = 200_000
_ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")
_PROGRAMS = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\0asm", b"!<arch>")
_HEAD = 512
_TAR = slice(257, 262)


def check_file_contents(directory: Path, code: Mapping[str, int], others: Mapping[str, int]) -> Iterator[Violation]:
    """Check the content of a method's files.

    Args:
        code, others: sizes of Python files and of all others, by their paths; no links.
    """
    binary = 0
    for name, size in {**code, **others}.items():
        kind = _kind(directory / name, size)
        if kind == "data":
            binary += size
        elif kind:
            yield Violation("static.hidden_code", name, 1, kind)
    for sizes, total, bound, what in (
        (others, binary, BINARY_BYTES, "binary data beside the code"),
        (others, sum(others.values()), TEXT_BYTES, "data beside the code"),
        (code, sum(code.values()), CODE_BYTES, "Python code"),
    ):
        if total >= bound:
            yield Violation("static.table", max(sizes, key=lambda name: sizes[name]), 1, f"{total:,} bytes of {what}")


def check_literals(seen: LiteralCounts) -> Iterator[Violation]:
    """Flag the literals in a method's code if there are many."""
    for count, bound, what in (
        (seen.numbers, MAX_NUMBERS, "written-out numbers"),
        (seen.values, MAX_VALUES, "written-out values"),
        (seen.encoded, ENCODED_CHARACTERS, "characters of encoded text"),
        (seen.prose, PROSE_CHARACTERS, "characters of text"),
    ):
        if count >= bound:
            yield Violation("static.table", *seen.where, f"{count:,} {what} in all")


def _kind(path: Path, size: int) -> str:
    """Return the kind of a file: ``data`` for binary content, empty for text."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
        if zipfile.is_zipfile(stream) or head.startswith(_ARCHIVES) or head[_TAR] == b"ustar":
            return "an archive, which may hold code"
        if head.startswith(_PROGRAMS) or (head[2:4] == b"\r\n" and path.suffix.startswith(".py") and b"\0" in head):
            return "compiled code"
        if head.startswith(b"#!") and b"python" not in head.splitlines()[0]:
            return "a script that is not Python"
        if size >= TEXT_BYTES:
            return ""  # counted by its size, text or not
        stream.seek(0)
        content = stream.read(TEXT_BYTES)
    try:
        return "data" if "\0" in content.decode("utf-8") else ""
    except UnicodeDecodeError:
        return "data"


_LEFT_OUT = frozenset({"ctx", "type_comment", "kind", "annotation", "returns"})
_NAMES = frozenset({"id", "arg", "name", "asname"})


def syntax_digest(directory: Path, trees: Mapping[str, ast.Module], others: Mapping[str, int]) -> str:
    """Return the hexadecimal digest of a method's syntax trees.

    Args:
        trees: syntax trees of all Python files, by their paths.
        others: sizes of the other files by their paths; they count by their bytes, the manifest and prose not at all.
    """
    whole = hashlib.sha256()
    for name, tree in sorted(trees.items()):
        whole.update(f"{name}\0".encode("utf-8", "surrogateescape"))
        whole.update(_spelled(tree).encode("utf-8", "surrogatepass"))
    for name in sorted(others):
        if name != MANIFEST_FILE and PurePosixPath(name).suffix.lower() != ".md":
            with (directory / name).open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            whole.update(f"{name}\0{content}\0".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _spelled(tree: ast.Module) -> str:
    """Return the tree as text, without names and unused texts.

    Names are replaced by the order in which they appear.
    """
    numbers: dict[str, int] = {}
    out: list[str] = []
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                continue
            case ast.AST():
                out.append(type(node).__name__)
                for field, value in reversed(list(ast.iter_fields(node))):
                    if field in _NAMES and isinstance(value, str):
                        waiting.append(("name", value))
                    elif field not in _LEFT_OUT:
                        waiting += [")", value, field]
            case list():
                waiting += reversed(node)
            case ("name", str(name)):
                out.append(f"#{numbers.setdefault(name, len(numbers))}")
            case _:
                out.append(repr(node) if not isinstance(node, int) else hex(node))
    return "\0".join(out)
