"""The static audit: reads frozen code before it runs; flags and never disqualifies.

Python is parsed and never run; other files are known by their content, not by their names.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from aar.errors import BoundExceeded
from aar.problems.protocol import Problem
from aar.scoring.audits.protocol import AuditInput, AuditResult, AuditStage, AuditVerdict
from aar.scoring.method_manifest import ENTRY_POINT, MANIFEST_FILE
from aar.scoring.phases import Phase
from aar.workers.worker_pool import run_in_worker

MAX_READ_BYTES = 200_000
"""Of all files together; the entry point comes first."""
MAX_NODES = 150_000
"""Of all files together; real methods have a few thousand."""
READ_SECONDS = 20.0
MAX_NUMBERS = 150
"""Written-out numbers that are flagged, all lists together; the largest shipped method has under 40."""
MAX_VALUES = 400
ENCODED_CHARACTERS = 400
PROSE_CHARACTERS = 20_000
BINARY_BYTES = 512
TEXT_BYTES = 16 * 1024
CODE_BYTES = 200_000
_MOST_HITS = 50
_MOST_FILES = 2_000
_LONGEST_PATH = 4096
_LONG_INTEGER = 10**100

_MODULES = {
    "static.network": (
        "opens connections",
        "_socket _ssl socket ssl socketserver http.client http.server urllib.request urllib3 requests httpx aiohttp "
        "websocket websockets ftplib smtplib poplib imaplib nntplib telnetlib xmlrpc paramiko zmq grpc pycurl "
        "webbrowser dns scapy multiprocessing.connection",
    ),
    "static.process": (
        "reaches other processes or compiled code",
        "subprocess _posixsubprocess posix pty ctypes _ctypes cffi psutil",
    ),
    "static.hidden_code": (
        "may run code from data",
        "marshal pickle dill cloudpickle shelve zipimport runpy imp importlib.machinery",
    ),
}
_USES = {
    "static.process": re.compile(
        r"os\.(system|popen|fork|forkpty|exec\w+|spawn\w+|posix_spawn\w*|kill|killpg|setns|unshare)"
        r"|sys\.(settrace|setprofile|addaudithook)"
    ),
    "static.hidden_code": re.compile(
        r"sys\.(path|meta_path|path_hooks|path_importer_cache)|site\.addsitedir|importlib\.util\.spec\w+"
    ),
}
_PATH = re.compile(r"/[\w.@~+/-]*")
_SYSTEM_FOLDER = re.compile("bin|boot|etc|home|lib|lib64|media|mnt|opt|proc|root|run|sbin|srv|sys|usr|var")
_ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")
_PROGRAMS = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\0asm", b"!<arch>")
_HEAD_BYTES = 512
_TAR_MARK = slice(257, 262)


@dataclass(frozen=True, slots=True)
class Violation:
    """A place in the code that a person should check.

    Args:
        what: a short text for people, without any text of the code that could be long or hidden.
    """

    rule: str
    file: str
    line: int
    what: str


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
        try:
            return audit_result(await run_in_worker(check_code, dossier.code.absolute(), seconds=READ_SECONDS))
        except BoundExceeded as error:
            what = f"the code cannot be read within its limits ({error.cause})"
            return audit_result(StaticReport([Violation("static.unreadable", ENTRY_POINT, 1, what)]))


def audit_result(report: StaticReport) -> AuditResult:
    """Turn a static report into the audit's result."""
    hits = [{"rule": hit.rule, "file": hit.file, "line": hit.line, "what": hit.what} for hit in report.hits]
    evidence = {"hits": hits, "shape": report.shape}
    if not report.hits:
        return AuditResult(StaticAudit.name, AuditVerdict.PASSED, "", "nothing found", evidence)
    first, more = report.hits[0], len(report.hits) - 1
    reason = f"{first.file}:{first.line}: {first.what}" + (f"; {more} more" if more else "")
    return AuditResult(StaticAudit.name, AuditVerdict.FLAGGED, first.rule, reason, evidence)


def check_code(directory: Path) -> StaticReport:
    """Read a method's files; nothing is imported or run, and links are not followed."""
    code, others = _list_files(directory)
    own = {name.partition("/")[0].removesuffix(".py") for name in code}
    hits = list(_check_files(directory, code, others))
    literals, trees, left = _Literals(), dict[str, ast.Module](), MAX_READ_BYTES
    for name, size in code.items():
        left -= size
        try:
            if left < 0:
                raise OverflowError
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trees[name] = ast.parse((directory / name).read_bytes())
            hits += _check_tree(name, trees[name], own, literals)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            what = "more code than is read" if isinstance(error, OverflowError) else "Python code that cannot be read"
            hits.append(Violation("static.unreadable", name, 1, what))
            left = -1 if isinstance(error, OverflowError) else left
    hits += literals.violations()
    unread = any(hit.rule == "static.unreadable" for hit in hits)
    unique = sorted(set(hits), key=lambda hit: (hit.rule, hit.file, hit.line, hit.what))
    return StaticReport(unique[:_MOST_HITS], "" if unread else _syntax_digest(directory, trees, others))


def _list_files(directory: Path) -> tuple[dict[str, int], dict[str, int]]:
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


def _check_files(directory: Path, code: Mapping[str, int], others: Mapping[str, int]) -> Iterator[Violation]:
    """Check the content of a method's files, given the sizes of Python files and of all others."""
    binary = 0
    for name, size in {**code, **others}.items():
        kind = _file_kind(directory / name, size)
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


def _file_kind(path: Path, size: int) -> str:
    """Return the kind of a file: ``data`` for binary content, empty for text."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        if zipfile.is_zipfile(stream) or head.startswith(_ARCHIVES) or head[_TAR_MARK] == b"ustar":
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


@dataclass(slots=True)
class _Literals:
    """The size of the literals in a method's code, all files together.

    Args:
        numbers: in lists, tuples, sets and dictionaries; other written-out values of these count as ``values`` only.
        encoded: characters of text that is not for people.
        where: file and line of the largest literal.
    """

    numbers: int = 0
    values: int = 0
    encoded: int = 0
    prose: int = 0
    nodes: int = 0
    where: tuple[str, int] = ("", 1)
    _largest: int = field(default=-1, repr=False)

    def count(self, file: str, node: ast.Constant, listed: bool) -> None:
        """Count a constant; ``listed`` marks one in a list or similar."""
        value, size = node.value, 0
        if isinstance(value, str | bytes) and not _is_encoded(value):
            self.prose += len(value)
        elif isinstance(value, str | bytes):
            size = len(value)
            self.encoded += size
        elif isinstance(value, int) and abs(value) >= _LONG_INTEGER:
            size = value.bit_length() // 4
            self.encoded += size
        elif listed and isinstance(value, int | float | complex):
            self.numbers, size = self.numbers + 1, 1
        self.values += listed
        if size > self._largest:
            self._largest, self.where = size, (file, node.lineno)

    def violations(self) -> Iterator[Violation]:
        """Flag the literals if there are many."""
        for count, bound, what in (
            (self.numbers, MAX_NUMBERS, "written-out numbers"),
            (self.values, MAX_VALUES, "written-out values"),
            (self.encoded, ENCODED_CHARACTERS, "characters of encoded text"),
            (self.prose, PROSE_CHARACTERS, "characters of text"),
        ):
            if count >= bound:
                yield Violation("static.table", *self.where, f"{count:,} {what} in all")


def _check_tree(file: str, tree: ast.Module, own: Collection[str], literals: _Literals) -> Iterator[Violation]:
    """Check one file's syntax tree and count its literals.

    Args:
        own: modules that the method's own files provide.

    Raises:
        OverflowError: the method has more code than is read.
    """
    nodes = list(islice(ast.walk(tree), MAX_NODES - literals.nodes + 1))
    literals.nodes += len(nodes)
    if literals.nodes > MAX_NODES:
        raise OverflowError
    aliases: dict[str, str] = {}
    unused, continuing, listed = set[int](), set[int](), set[int]()
    for node in nodes:
        match node:
            case ast.Import() | ast.ImportFrom():
                aliases |= _bound_names(node)
            case ast.Expr(value=ast.Constant() as text):
                unused.add(id(text))
            # A text that follows another one begins no path.
            case ast.JoinedStr(values=[_, *rest]):
                continuing.update(map(id, rest))
            case ast.BinOp(op=ast.Add(), right=right):
                continuing.add(id(right))
            case ast.List() | ast.Tuple() | ast.Set() | ast.Dict():
                children = ast.iter_child_nodes(node)
                listed.update(id(each.operand if isinstance(each, ast.UnaryOp) else each) for each in children)
    for node in nodes:
        if isinstance(node, ast.Constant) and id(node) not in unused:
            literals.count(file, node, id(node) in listed)
            if isinstance(node.value, str) and (what := _path_fault(node.value, id(node) in continuing)):
                yield Violation("static.path", file, node.lineno, what)
        for rule, what in _import_faults(node, own) or _use_faults(node, aliases, own):
            yield Violation(rule, file, getattr(node, "lineno", 1), what)


def _bound_names(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """Return the full names behind the names that an import binds."""
    if isinstance(node, ast.ImportFrom):
        return {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names if not node.level}
    tops = ((each, each.name.partition(".")[0]) for each in node.names)
    return {each.asname or top: each.name if each.asname else top for each, top in tops}


def _import_faults(node: ast.AST, own: Collection[str]) -> list[tuple[str, str]]:
    match node:
        case ast.Import(names=names):
            return [fault for each in names for fault in _module_faults(each.name, own)]
        case ast.ImportFrom(level=0, module=module, names=names):
            # ``from http import client`` imports http.client
            return [fault for each in names for fault in _module_faults(f"{module}.{each.name}", own)]
        case _:
            return []


def _module_faults(name: str, own: Collection[str]) -> list[tuple[str, str]]:
    """Return the rules that a module breaks by its full name, each with a text."""
    parts = name.split(".")
    if parts[0] in own and parts[0] not in sys.builtin_module_names:
        return []
    packages = {".".join(parts[: end + 1]) for end in range(len(parts))}
    broken = ((rule, what, packages & set(modules.split())) for rule, (what, modules) in _MODULES.items())
    return [(rule, f"imports {min(found)}, which {what}") for rule, what, found in broken if found]


def _use_faults(node: ast.AST, aliases: Mapping[str, str], own: Collection[str]) -> list[tuple[str, str]]:
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=attr) if name in aliases:
            meaning = f"{aliases[name]}.{attr}"
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id=name), attr=inner), attr=attr) if name in aliases:
            meaning = f"{aliases[name]}.{inner}.{attr}"
        case ast.Name(id=name, ctx=ast.Load()) if name in aliases:
            meaning = aliases[name]
        case ast.Call(func=ast.Name(id="exec" | "eval" | "compile" as name)) if name not in aliases:
            return [("static.hidden_code", f"{name} of a text")]
        case ast.Call(
            func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"), args=[given, *_]
        ):
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                return _module_faults(given.value, own)
            return [("static.hidden_code", "imports a module whose name is built while it runs")]
        case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
            return [("static.hidden_code", "loads pickled objects, which may run code")]
        case _:
            return []
    return [(rule, f"uses {meaning}") for rule, pattern in _USES.items() if pattern.fullmatch(meaning)]


def _path_fault(text: str, continuing: bool) -> str:
    """Return what is suspicious about a text as a path; ``continuing``: it follows another text."""
    if len(text) > _LONGEST_PATH or any(map(str.isspace, text)):
        return ""
    steps = [step for step in text.split("/") if step not in ("", ".")]
    if ".." in steps:
        return "names the hidden part of the data" if "hidden" in steps else "climbs out of a folder with '..'"
    if continuing or not steps or _PATH.fullmatch(text) is None:
        return ""
    if "hidden" in steps:
        return "names the hidden part of the data"
    if steps[0] in ("proc", "sys"):
        return "names a file of the kernel (/proc, /sys)"
    return "names a place of the system" if _SYSTEM_FOLDER.fullmatch(steps[0]) else ""


def _is_encoded(text: str | bytes) -> bool:
    """Return True if a text looks encoded.

    It has hardly a space, many unprintable characters, or mostly digits.
    """
    sample = text if isinstance(text, str) else text.decode("latin-1")
    if len(sample) < 64:
        return False
    spaces = sum(map(str.isspace, sample))
    odd = sum(not each.isprintable() and not each.isspace() for each in sample)
    digits = sum(map(str.isdigit, sample))
    return spaces < 0.02 * len(sample) or odd > 0.02 * len(sample) or digits > 0.3 * len(sample)


def _syntax_digest(directory: Path, trees: Mapping[str, ast.Module], others: Mapping[str, int]) -> str:
    """Return a digest of a method's syntax trees and its other files, without layout and names.

    A hint for people, on which nothing acts: code can see its own layout and names, so equal trees may do different
    things. Other files count by their bytes, the manifest and prose not at all.
    """
    whole = hashlib.sha256()
    for name, tree in sorted(trees.items()):
        whole.update(f"{name}\0{_spell(tree)}\0".encode("utf-8", "surrogateescape"))
    for name in sorted(others):
        if name != MANIFEST_FILE and PurePosixPath(name).suffix.lower() != ".md":
            with (directory / name).open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            whole.update(f"{name}\0{content}\0".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _spell(tree: ast.Module) -> str:
    """Return the tree as text; names are numbered as they appear, and unused texts left out."""
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
                for name, value in reversed(list(ast.iter_fields(node))):
                    if name in ("id", "arg", "name", "asname") and isinstance(value, str):
                        waiting.append(("name", value))
                    elif name not in ("ctx", "type_comment", "kind", "annotation", "returns"):
                        waiting += [")", value, name]
            case list():
                waiting += reversed(node)
            case ("name", str(name)):
                out.append(f"#{numbers.setdefault(name, len(numbers))}")
            case _:
                out.append(repr(node) if not isinstance(node, int) else hex(node))
    return "\0".join(out)
