"""What counts as the same code: a digest that comments, layout, annotations and names of variables do not change.

Handing the same method in again under another spelling must not buy a fresh draw of luck, so submissions of one
identity share one estimate. The digest errs to one side: two methods of one identity do the same; two spellings of one
method may still differ, where the code could see its own spelling (it reads its source, or looks names up as text).
Code is only parsed here, never imported or run.
"""

from __future__ import annotations

import ast
import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from aar.scoring.code_names import Scope, arguments_of, bound_by_import, children, scopes_of
from aar.scoring.manifest import MANIFEST

MAX_PARSED_BYTES = 1_000_000
"""Longer Python files are compared byte by byte."""

_READS_ITSELF = frozenset(
    {"__file__", "__loader__", "__spec__", "getsource", "getsourcelines", "inspect", "linecache", "tokenize"}
)
_READS_NAMES = frozenset(
    {"locals", "globals", "vars", "dir", "eval", "exec", "compile", "modules", "_getframe", "currentframe", "f_locals"}
    | {"f_globals", "__code__", "__dict__", "__globals__", "__name__", "__qualname__", "__closure__", "__main__"}
    | {"__annotations__", "get_type_hints", "signature", "getfullargspec"}
)
_LOOK_UP = frozenset({"getattr", "setattr", "hasattr", "delattr", "attrgetter", "methodcaller"})


def code_identity(directory: Path) -> str:
    """The digest of a method's code (SHA-256, hexadecimal).

    ``method.yaml``, Markdown files and ``__pycache__`` do not count, unless the code names such a file. A Python file
    that does not parse counts by its lines, any other file by its bytes; links count by where they point.

    Args:
        directory: holds the method; may be a copy of anything that a sandbox wrote.
    """
    files = {path.relative_to(directory).as_posix(): path for path in _files(directory)}
    trees = {name: tree for name, path in files.items() if (tree := parse(path)) is not None}
    said = [
        node.value
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    keywords = frozenset(
        node.arg for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg
    )
    imported = _imported(trees, said)
    whole = hashlib.sha256()
    for name, path in sorted(files.items()):
        if _is_prose(name) and not any(PurePosixPath(name).suffix in text for text in said):
            continue
        content = _canonical(trees[name], keywords, imported & {name}) if name in trees else None
        kind = b"bytes" if content is None else b"code"
        if content is None:
            content = _plain(path)
        whole.update(b"%s\0%s\0%s" % (name.encode("utf-8", "surrogateescape"), kind, hashlib.sha256(content).digest()))
    return whole.hexdigest()


def parse(path: Path) -> ast.Module | None:
    """The syntax tree of a Python file; None for any other file, and for one too long, too deep or not Python."""
    if path.suffix not in (".py", ".pyw") or path.is_symlink() or path.stat().st_size > MAX_PARSED_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _files(directory: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(directory):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        folders[:] = [name for name in folders if name != "__pycache__" and name not in links]
        yield from (Path(parent, name) for name in [*names, *links])


def _is_prose(name: str) -> bool:
    return name == MANIFEST or name.lower().endswith(".md")


def _imported(trees: Mapping[str, ast.Module], said: list[str]) -> set[str]:
    """The files whose names other files may use: their module's name stands in an import or in a text."""
    words = {part for text in said if len(text) < 200 for part in text.split(".")}
    for tree in trees.values():
        for node in ast.walk(tree):
            match node:
                case ast.Import(names=names):
                    words |= {part for alias in names for part in alias.name.split(".")}
                case ast.ImportFrom(module=module, names=names):
                    words |= {*(module or "").split("."), *(alias.name for alias in names)}
                case _:
                    pass
    stems = {name: PurePosixPath(name).stem for name in trees}
    return {name for name, stem in stems.items() if stem in words or stem == "__init__"}


def _plain(path: Path) -> bytes:
    if path.is_symlink():
        return b"link to " + os.fsencode(path.readlink())
    content = path.read_bytes()
    if path.suffix != ".py" or len(content) > MAX_PARSED_BYTES:
        return content
    return b"\n".join(line.rstrip() for line in content.splitlines() if line.strip())


def _canonical(tree: ast.Module, keywords: frozenset[str], imported: set[str]) -> bytes | None:
    """The tree as text with numbered variables; None where the file may read its own source, or is too deep."""
    words = set(_words(tree))
    if words & _READS_ITSELF or any(word.endswith(".py") for word in words):
        return None
    try:
        fixed = bool(words & _READS_NAMES) or "*" in words
        scopes = scopes_of(tree, keywords=keywords, fixed_module=bool(imported))
        return _Writer(scopes, fixed, prose="__doc__" in words).text(tree)
    except (RecursionError, ValueError):  # ValueError: an integer too long to write down
        return None


def _words(tree: ast.Module) -> Iterator[str]:
    """Names, attributes, imported names and, where attributes are looked up by text, texts."""
    found: list[str] = []
    texts: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Name(id="__name__"):
                pass  # the module's, not a function's
            case ast.Name(id=word) | ast.Attribute(attr=word):
                found.append(word)
            case ast.alias(name=word):
                found += [word, *word.split(".")]
            case ast.Constant(value=str(word)):
                texts.append(word)
            case _:
                pass
    yield from found
    yield from texts if _LOOK_UP & set(found) else (text for text in texts if text.endswith(".py"))


class _Writer:
    """Writes a tree unambiguously: every node by its type and fields, every variable by its number.

    Args:
        fixed: whether variables keep their names.
        prose: whether docstrings count, because the code reads them.
    """

    def __init__(self, scopes: dict[ast.AST, Scope], fixed: bool, prose: bool) -> None:
        self._scopes = scopes
        self._prose = prose
        self._fixed = fixed
        self._numbers: dict[tuple[Scope, str], int] = {}
        self._out: list[str] = []

    def text(self, tree: ast.Module) -> bytes:
        """The whole tree."""
        self._block(tree.body, self._scopes[tree])
        return "\n".join(self._out).encode("utf-8", "surrogatepass")

    def _variable(self, name: str, scope: Scope) -> str:
        owner = scope.owner(name)
        if owner is None or self._fixed or owner.keeps(name):
            return f"={name}"
        return f"#{self._numbers.setdefault((owner, name), len(self._numbers))}"

    def _block(self, body: list[ast.stmt], scope: Scope) -> None:
        for statement in body:
            match statement:
                case ast.Pass() | ast.ImportFrom(module="__future__"):
                    continue
                case ast.Expr(value=ast.Constant()) if not self._prose:
                    continue
                case ast.AnnAssign(value=None, target=ast.Name()) if scope.kind != "class":
                    continue
                case ast.AnnAssign(value=ast.expr() as value, target=target) if scope.kind != "class":
                    self._node(ast.Assign(targets=[target], value=value), scope)
                case _:
                    self._node(statement, scope)
        self._out.append("end")

    def _node(self, node: ast.AST, scope: Scope) -> None:
        inner = self._scopes.get(node)
        own = {id(child) for child, inside in children(node) if inside} if inner is not None else set()
        decorated = bool(getattr(node, "decorator_list", ())) or scope.kind == "class"
        self._out.append(f"({type(node).__name__}")
        for name, value in ast.iter_fields(node):
            if name in ("ctx", "type_comment", "kind", "lineno") or (name == "returns" and not decorated):
                continue
            self._field(node, name, value, scope, inner, own, decorated)
        self._out.append(")")

    def _field(
        self, node: ast.AST, name: str, value: object, scope: Scope, inner: Scope | None, own: set[int], decorated: bool
    ) -> None:
        self._out.append(f".{name}")
        match node, name, value:
            case ast.alias(), "asname", _:
                # ``import a.b`` binds a, ``import a.b as c`` binds a.b; ``import a`` and ``import a as b`` are one.
                self._out.append(f"{value is not None and '.' in node.name}")
                if node.name != "*":
                    self._out.append(self._variable(bound_by_import(node), scope))
            case (ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.ExceptHandler(), "name", str(word)):
                self._out.append(self._variable(word, scope))
            case (ast.MatchAs() | ast.MatchStar(), "name", str(word)) | (ast.MatchMapping(), "rest", str(word)):
                self._out.append(self._variable(word, scope))
            case ast.Name(), "id", str(word):
                self._out.append(self._variable(word, scope))
            case (ast.Global() | ast.Nonlocal(), "names", list()):
                self._out += [self._variable(word, scope) for word in value]
            case _, "generators", list() if inner is not None:
                for index, each in enumerate(value):
                    self._node(each.target, inner)
                    self._node(each.iter, inner if index else scope)
                    self._field(each, "ifs", each.ifs, inner, None, own, decorated)
                    self._value(each.is_async, inner)
                self._out.append("end")
            case _, "args", ast.arguments() if inner is not None:
                self._arguments(value, scope, inner, decorated)
            case _, _, [ast.stmt(), *_]:
                self._block(value, inner if inner is not None else scope)  # type: ignore[arg-type]
            case _, _, list():
                for each in value:
                    self._value(each, inner if inner is not None and id(each) in own else scope)
                self._out.append("end")
            case _:
                self._value(value, inner if inner is not None and id(value) in own else scope)

    def _value(self, value: object, scope: Scope) -> None:
        if isinstance(value, ast.AST):
            self._node(value, scope)
        else:
            self._out.append(f"{type(value).__name__} {value!r}")

    def _arguments(self, given: ast.arguments, outside: Scope, inside: Scope, annotated: bool) -> None:
        self._out.append(f"{len(given.posonlyargs)} {len(given.args)} {len(given.kwonlyargs)}")
        self._out.append(f"{given.vararg is not None} {given.kwarg is not None}")
        for argument in arguments_of(given):
            self._out.append(self._variable(argument.arg, inside))
            if annotated and argument.annotation is not None:
                self._node(argument.annotation, outside)
        for default in [*given.defaults, *given.kw_defaults]:
            self._value(default, outside)
