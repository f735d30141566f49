"""Rules about code that cannot be read here: built while it runs, loaded from data, or not Python at all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from aar.scoring.audits.protocol import Verdict
from aar.scoring.audits.static.source import Hit, Source

_RUNNERS = frozenset({"builtins.eval", "builtins.exec", "builtins.compile", "code.interact", "runpy.run_path"})
_BUILT_CODE = frozenset({"types.FunctionType", "types.CodeType", "code.InteractiveInterpreter"})
_DECODERS = re.compile(
    r"(base64|binascii|zlib|gzip|bz2|lzma|codecs|marshal|pickle|quopri|uu)\.\w+|builtins\.bytes(\.fromhex)?|builtins\.bytearray"
)
_DECODING_METHODS = frozenset({"fromhex", "decode", "decompress", "b64decode", "translate"})
_LOADERS = re.compile(
    r"(pickle|marshal|dill|cloudpickle|shelve|jsonpickle)\.(loads?|open|Unpickler|load_module)|joblib\.load|torch\.load"
    r"|pandas\.read_pickle|numpy\.ctypeslib\.load_library|importlib\.(machinery|util\.spec_from_file_location|util\.module_from)"
    r".*|zipimport\.\w+|pkgutil\.\w+|imp\.\w+|sys\.(meta_path|path_hooks|path_importer_cache)(\..*)?"
)
_IMPORTERS = frozenset({"builtins.__import__", "importlib.import_module", "importlib.__import__"})
_POWERFUL = ("os", "sys", "builtins", "importlib", "subprocess", "socket", "ctypes", "shutil", "io")
_BINARY = frozenset(
    {".so", ".pyd", ".dll", ".dylib", ".pyo", ".pyx", ".whl", ".egg", ".zip", ".jar", ".exe", ".a", ".o"}
)
_HASH_BASED = 0b1
"""Flag of a ``.pyc`` that is used without a look at its source's time and size (PEP 552)."""


def hidden_code(source: Source) -> Iterator[Hit]:
    """Code that runs, loads or looks up what is only known when it runs."""
    decoded = source.tainted(lambda node: _is_decoded(source, node))
    for call in source.calls:
        names = source.called(call)
        if names & _RUNNERS and call.args:
            yield _run(source, call, min(names & _RUNNERS), decoded.reaches(call.args[0]))
        elif names & _IMPORTERS and call.args and source.folder.text(call.args[0]) is None:
            yield source.hit("hidden_code", Verdict.FLAGGED, call, "imports a module whose name is built while it runs")
        elif "builtins.getattr" in names and len(call.args) > 1 and source.folder.text(call.args[1]) is None:
            modules = {name for name in source.names.of(call.args[0]) if name in _POWERFUL}
            if modules:
                what = f"looks up a function of {min(modules)} by a name that is built while it runs"
                yield source.hit("hidden_code", Verdict.FLAGGED, call, what)
        if any(each.arg == "allow_pickle" and _is_true(each.value) for each in call.keywords):
            yield source.hit("hidden_code", Verdict.FLAGGED, call, "loads pickled objects, which may run code")
    for node, meanings in source.uses():
        found = sorted(name for name in meanings if _LOADERS.fullmatch(name) or name in _BUILT_CODE)
        if found:
            yield source.hit("hidden_code", Verdict.FLAGGED, node, f"uses {found[0]}, which may run code from data")


def inner_code(source: Source) -> Iterator[tuple[ast.AST, ast.Module]]:
    """Programs that the code runs and that can be worked out."""
    for call in source.calls:
        if source.called(call) & _RUNNERS and call.args:
            text = source.folder.value(call.args[0])
            if isinstance(text, str | bytes):
                try:
                    yield call, ast.parse(text)
                except (SyntaxError, ValueError, RecursionError, MemoryError):
                    continue


def binaries(directory: Path, others: list[str]) -> Iterator[Hit]:
    """Files that a Python program can run without their being readable as one."""
    for name in others:
        path, suffix = directory / name, PurePosixPath(name).suffix.lower()
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as stream:
            head = stream.read(16)
        if suffix == ".pyc":
            source = PurePosixPath(name).parent.parent / f"{PurePosixPath(name).name.split('.')[0]}.py"
            has_source = "__pycache__" in name and (directory / source).is_file()
            checked = has_source and len(head) > 4 and not head[4] & _HASH_BASED
            if checked:
                continue
        elif suffix not in _BINARY and not head.startswith((b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe")):
            if head.startswith(b"#!") and b"python" not in head:
                yield Hit("static.unreadable", Verdict.FLAGGED, name, 1, "a script that is not Python")
            continue
        yield Hit("static.hidden_code", Verdict.FLAGGED, name, 1, "compiled or packed code")


def _run(source: Source, call: ast.Call, function: str, is_decoded: bool) -> Hit:
    name = function.removeprefix("builtins.")
    if is_decoded:
        return source.hit("hidden_code", Verdict.DISQUALIFIED, call, f"{name} of decoded data")
    known = source.folder.value(call.args[0]) is not None
    what = f"{name} of a text" if known else f"{name} of what is only known while it runs"
    return source.hit("hidden_code", Verdict.FLAGGED, call, what)


def _is_decoded(source: Source, node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr=attr)) if attr in _DECODING_METHODS:
            return True
        case ast.Call(func=ast.Name(id="chr")):
            return True
        case ast.Call():
            return any(_DECODERS.fullmatch(name) for name in source.called(node))
        case ast.Subscript(slice=ast.Slice(step=ast.UnaryOp(op=ast.USub()))):
            return True
        case _:
            return False


def _is_true(node: ast.expr) -> bool:
    return not (isinstance(node, ast.Constant) and not node.value)
