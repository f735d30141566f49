"""Rules about a method's Python code: imports, calls and literals, from its syntax trees."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NETWORK = _words(
    "_socket _ssl socket ssl socketserver http.client http.server urllib.request urllib3 requests httpx aiohttp "
    "websocket websockets ftplib smtplib poplib imaplib nntplib telnetlib xmlrpc paramiko zmq grpc pycurl webbrowser "
    "dns scapy multiprocessing.connection"
)
_PROCESSES = _words("subprocess _posixsubprocess posix pty ctypes _ctypes cffi psutil")
_PROCESS_CALL = re.compile(
    r"os\.(system|popen|fork|forkpty|exec\w+|spawn\w+|posix_spawn\w*|kill|killpg|setns|unshare)"
    r"|sys\.(settrace|setprofile|addaudithook)"
)
_LOADERS = _words("marshal pickle dill cloudpickle shelve zipimport runpy imp importlib.machinery")
_RUNNERS = frozenset({"exec", "eval", "compile"})
_SEARCH_PATH = re.compile(
    r"sys\.(path|meta_path|path_hooks|path_importer_cache)|site\.addsitedir|importlib\.util\.spec\w+"
)
_PACKAGES = _words(
    "numpy scipy sklearn joblib threadpoolctl pandas torch torchvision tensorflow keras jax flax optax transformers "
    "sentence_transformers tokenizers datasets xgboost lightgbm catboost statsmodels numba sympy networkx nltk spacy "
    "gensim matplotlib seaborn PIL cv2 skimage tqdm yaml einops accelerate peft polars pyarrow typing_extensions"
)
"""Well-known packages, even if a sandbox does not have them."""
_OWN = ("/data", "/lab", "/method", "/workspace", "/tmp", "/dev/null", "/dev/stdout", "/dev/stderr", "/dev/stdin")  # noqa: S108 - names of a sandbox's folders
_PLACE = re.compile(r"/[\w.@~+/-]*")
_SYSTEM = _words("bin boot dev etc home lib lib64 media mnt opt proc root run sbin srv sys usr var")
_LONGEST_PATH = 4096
_DISPLAYS = (ast.List, ast.Tuple, ast.Set, ast.Dict)
_LONG_INTEGER = 10**100
MAX_NODES = 150_000
"""Of all files together; real methods have a few thousand."""


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


@dataclass(slots=True)
class LiteralCounts:
    """The size of the literals in a method's code, all files together.

    Args:
        numbers: in lists, tuples, sets and dictionaries; other written-out values of these count as ``values`` only.
        encoded: characters of text that is not for people.
        where: file and line of the largest list, and of the longest such text.
    """

    numbers: int = 0
    values: int = 0
    encoded: int = 0
    prose: int = 0
    nodes: int = 0
    where: tuple[str, int] = ("", 1)
    _longest: int = field(default=0, repr=False)

    def count_constant(self, file: str, node: ast.Constant, inside: bool) -> None:
        """Count a constant; ``inside`` marks one in a list or similar."""
        value, size = node.value, 0
        if isinstance(value, str | bytes):
            size = len(value)
            if _is_encoded(value):
                self.encoded += size
            else:
                self.prose, size = self.prose + size, 0
        elif isinstance(value, int) and abs(value) >= _LONG_INTEGER:
            size = value.bit_length() // 4
            self.encoded += size
        elif inside and isinstance(value, int | float | complex):
            self.numbers, size = self.numbers + 1, 1
        self.values += inside
        if size > self._longest or not self.where[0]:
            self._longest, self.where = size, (file, node.lineno)


def check_syntax_tree(
    file: str, tree: ast.Module, own: Collection[str], known: Collection[str], seen: LiteralCounts
) -> list[Violation]:
    """Check one file's syntax tree; its literals are added to ``seen``.

    Args:
        own: modules that the method's own files provide.
        known: other available modules, such as the lab's.

    Raises:
        OverflowError: the method has more code than is read.
    """
    hits: list[Violation] = []
    nodes: list[ast.AST] = []
    aliases: dict[str, str] = {}
    prose: set[int] = set()
    # Each node once, with two flags: its text follows another one's, and it is in a list.
    waiting: list[tuple[ast.AST, bool, bool]] = [(tree, False, False)]
    while waiting:
        node, follows, inside = waiting.pop()
        seen.nodes += 1
        if seen.nodes > MAX_NODES:
            raise OverflowError
        nodes.append(node)
        match node:
            case ast.Expr(value=ast.Constant() as text):
                prose.add(id(text))
            case ast.Constant(value=str(text)) if id(node) not in prose:
                hits += [Violation("static.path", file, node.lineno, what) for what in _places(text, follows)]
            case ast.Import() | ast.ImportFrom():
                aliases |= _bound(node)
                hits += [Violation(rule, file, node.lineno, what) for rule, what in _imports(node, own, known)]
            case _:
                pass
        if isinstance(node, ast.Constant) and id(node) not in prose:
            seen.count_constant(file, node, inside)
        for index, child in enumerate(ast.iter_child_nodes(node)):
            later = isinstance(node, ast.JoinedStr) and index > 0
            later |= isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and child is node.right
            goes_on = isinstance(node, ast.JoinedStr | ast.FormattedValue | ast.BinOp)
            waiting.append((child, later or (follows and goes_on), inside or isinstance(node, _DISPLAYS)))
    for node in nodes:
        hits += [
            Violation(rule, file, getattr(node, "lineno", 1), what) for rule, what in _uses(node, aliases, own, known)
        ]
    return hits


def _bound(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """Return the full names behind the names that an import binds."""
    if isinstance(node, ast.ImportFrom):
        return {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names if not node.level}
    return {
        each.asname or each.name.partition(".")[0]: each.name if each.asname else each.name.partition(".")[0]
        for each in node.names
    }


def _imports(
    node: ast.Import | ast.ImportFrom, own: Collection[str], known: Collection[str]
) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.ImportFrom) and node.level:
        return
    # ``from http import client`` imports http.client
    names = [each.name for each in node.names]
    found = names if isinstance(node, ast.Import) else [f"{node.module}.{name}" for name in names]
    for name in found:
        yield from _judge_module(name, own, known)


def _judge_module(name: str, own: Collection[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Return the rule and text for a module imported by its full name.

    Nothing is yielded for a module without a rule.
    """
    parts = name.split(".")
    if parts[0] in own and parts[0] not in sys.builtin_module_names:
        return
    packages = {".".join(parts[: end + 1]) for end in range(len(parts))}
    for rule, modules, what in (
        ("static.network", _NETWORK, "opens connections"),
        ("static.process", _PROCESSES, "reaches other processes or compiled code"),
        ("static.hidden_code", _LOADERS, "may run code from data"),
    ):
        found = packages & modules
        if found:
            yield rule, f"imports {min(found)}, which {what}"
    if not (parts[0] in sys.stdlib_module_names or parts[0] in _PACKAGES or parts[0] in known):
        yield "static.hidden_code", "imports a module that no file of the method and no known package answers"


def _uses(
    node: ast.AST, aliases: dict[str, str], own: Collection[str], known: Collection[str]
) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=attr) if name in aliases:
            meaning = f"{aliases[name]}.{attr}"
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id=name), attr=inner), attr=attr) if name in aliases:
            meaning = f"{aliases[name]}.{inner}.{attr}"
        case ast.Name(id=name, ctx=ast.Load()) if name in aliases:
            meaning = aliases[name]
        case ast.Call(func=ast.Name(id=name)) if name in _RUNNERS and name not in aliases:
            yield "static.hidden_code", f"{name} of a text"
            return
        case ast.Call(
            func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"), args=[given, *_]
        ):
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                yield from _judge_module(given.value, own, known)
            else:
                yield "static.hidden_code", "imports a module whose name is built while it runs"
            return
        case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
            yield "static.hidden_code", "loads pickled objects, which may run code"
            return
        case _:
            return
    if _PROCESS_CALL.fullmatch(meaning):
        yield "static.process", f"uses {meaning}"
    elif _SEARCH_PATH.fullmatch(meaning):
        yield "static.hidden_code", f"uses {meaning}, which decides where modules come from"


def _places(text: str, follows: bool) -> Iterator[str]:
    """List suspicious path patterns in a text; ``follows``: it continues another text.

    A text that follows another begins no path.
    """
    if len(text) > _LONGEST_PATH or any(map(str.isspace, text)):
        return
    steps = [step for step in text.split("/") if step not in ("", ".")]
    if ".." in steps:
        yield "names the hidden part of the data" if "hidden" in steps else "climbs out of a folder with '..'"
    elif follows or not steps or _PLACE.fullmatch(text) is None:
        return
    elif steps[0] == "data" and "hidden" in steps:
        yield "names the hidden part of the data"
    elif any(f"/{'/'.join(steps)}/".startswith(f"{own}/") for own in _OWN):
        return
    elif steps[0] in ("proc", "sys"):
        yield "names a file of the kernel (/proc, /sys)"
    elif len(steps) > 1 or steps[0] in _SYSTEM:
        yield "names a place outside the data, the method and /tmp"


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
