"""What a name in a program stands for in the outside world: ``sp.run`` is ``subprocess.run`` after such an import.

Follows imports, aliases, ``__import__``, ``getattr`` with a text that can be worked out, ``sys.modules`` and modules
reached through other modules. Without scopes: a name bound twice stands for all that it was bound to.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Sequence

from aar.scoring.audits.static.folding import Folder

_BUILTINS = frozenset(dir(builtins))
_SAME = {
    "posix": "os",
    "posixpath": "os.path",
    "_socket": "socket",
    "_posixsubprocess": "subprocess",
    "_io": "io",
    "io.open": "builtins.open",
    "codecs.open": "builtins.open",
    "_pickle": "pickle",
    "cPickle": "pickle",
    "builtins.__builtins__": "builtins",
}
_THROUGH = frozenset({"os", "sys", "socket", "subprocess", "builtins", "importlib", "ctypes", "urllib", "http"})
"""Modules that are found again where another module imported them: ``np.lib.npyio.os``."""
_IMPORTERS = frozenset({"builtins.__import__", "importlib.import_module", "importlib.__import__"})
_FIXPOINT_ROUNDS = 4
_MOST_MEANINGS = 8


class Names:
    """The outside names of one file.

    Args:
        nodes: every node of its tree.
    """

    def __init__(self, nodes: Sequence[ast.AST], folder: Folder) -> None:
        self._folder = folder
        self._meaning: dict[str, set[str]] = {}
        self._stored = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
        self._stored |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        self._stored |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._add(alias.asname or alias.name.partition(".")[0], [self._imported(alias)])
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self._add(alias.asname or alias.name, [_same(f"{node.module or ''}.{alias.name}")])
        assigned = [pair for node in nodes for pair in _assignments(node)]
        for _ in range(_FIXPOINT_ROUNDS):
            before = sum(map(len, self._meaning.values()))
            for name, value in assigned:
                self._add(name, self.of(value))
            if sum(map(len, self._meaning.values())) == before:
                break

    def of(self, node: ast.AST) -> set[str]:
        """Dotted names that an expression may stand for, such as ``os.environ``; none for anything of the file's own.

        Built-in functions go by ``builtins.eval`` and so on.
        """
        match node:
            case ast.Name(id=name):
                found = set(self._meaning.get(name, ()))
                if name == "__builtins__":
                    found.add("builtins")
                elif name not in self._stored and name not in self._meaning and name in _BUILTINS:
                    found.add(_same(f"builtins.{name}"))
                return found
            case ast.Attribute(value=value, attr=attr):
                return {_attribute(base, attr) for base in self.of(value)}
            case ast.Subscript(value=value, slice=key):
                return self._looked_up(value, key)
            case ast.Call(func=func, args=[first, *rest]):
                return self._called(self.of(func), first, rest)
            case ast.NamedExpr(value=value) | ast.Await(value=value):
                return self.of(value)
            case ast.IfExp(body=one, orelse=other):
                return self.of(one) | self.of(other)
            case _:
                return set()

    def _called(self, functions: set[str], first: ast.expr, rest: list[ast.expr]) -> set[str]:
        if functions & _IMPORTERS:
            name = self._folder.text(first)
            return set() if name is None else {_same(name), _same(name.partition(".")[0])}
        if "builtins.getattr" in functions and rest:
            attr = self._folder.text(rest[0])
            return set() if attr is None else {_attribute(base, attr) for base in self.of(first)}
        if "builtins.vars" in functions:
            return {f"{base}.__dict__" for base in self.of(first)}
        return set()

    def _looked_up(self, value: ast.expr, key: ast.expr) -> set[str]:
        name = self._folder.text(key)
        if name is None:
            return set()
        bases = self.of(value)
        found = {_attribute(base.removesuffix(".__dict__"), name) for base in bases if base.endswith(".__dict__")}
        if "sys.modules" in bases:
            found.add(_same(name))
        if "builtins" in bases:  # __builtins__ is a mapping in some modules
            found.add(f"builtins.{name}")
        return found

    def _add(self, name: str, meanings: Iterable[str]) -> None:
        known = self._meaning.setdefault(name, set())
        known |= set(sorted(meanings)[: max(0, _MOST_MEANINGS - len(known))])
        if not known:
            del self._meaning[name]

    @staticmethod
    def _imported(alias: ast.alias) -> str:
        return _same(alias.name if alias.asname else alias.name.partition(".")[0])


def _assignments(node: ast.AST) -> list[tuple[str, ast.expr]]:
    pairs: list[tuple[ast.expr, ast.expr]]
    match node:
        case ast.Assign(targets=targets, value=value):
            pairs = [(target, value) for target in targets]
        case ast.AnnAssign(target=one, value=ast.expr() as value) | ast.NamedExpr(target=one, value=value):
            pairs = [(one, value)]
        case _:
            return []
    found: list[tuple[str, ast.expr]] = []
    for target, given in pairs:
        match target, given:
            case ast.Name(id=name), _:
                found.append((name, given))
            case ast.Tuple(elts=names) | ast.List(elts=names), ast.Tuple(elts=values) | ast.List(elts=values):
                found += [(each.id, it) for each, it in zip(names, values, strict=False) if isinstance(each, ast.Name)]
            case _:
                pass
    return found


def _attribute(base: str, attr: str) -> str:
    return attr if attr in _THROUGH and base != attr else _same(f"{base}.{attr}")


def _same(name: str) -> str:
    root, _, rest = name.partition(".")
    if root in _SAME:
        name = f"{_SAME[root]}.{rest}" if rest else _SAME[root]
    return _SAME.get(name, name)
