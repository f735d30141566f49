"""A Python file as the rules see it: nodes, what names mean, what constants come to, and what branches hang on."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from aar.scoring.audits.protocol import Verdict
from aar.scoring.audits.static.folding import Folder
from aar.scoring.audits.static.names import Names

_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Hit:
    """A place that breaks a rule.

    Args:
        what: a few words for people, without any text of the code that could be long or hidden.
    """

    rule: str
    verdict: Verdict
    file: str
    line: int
    what: str


class Source:
    """One file of a method.

    Args:
        file: its path within the method.
    """

    def __init__(self, file: str, tree: ast.Module) -> None:
        self.file = file
        self.nodes = list(ast.walk(tree))
        self.folder = Folder(self.nodes)
        self.names = Names(self.nodes, self.folder)
        self.prose = {id(node.value) for node in self.nodes if isinstance(node, ast.Expr)}
        """Ids of texts that nothing uses: docstrings."""
        self.calls = [node for node in self.nodes if isinstance(node, ast.Call)]

    def hit(self, rule: str, verdict: Verdict, node: ast.AST, what: str) -> Hit:
        """A hit at a node."""
        return Hit(f"static.{rule}", verdict, self.file, getattr(node, "lineno", 1), what)

    def called(self, call: ast.Call) -> set[str]:
        """Outside names of the function that a call may call."""
        return self.names.of(call.func)

    def uses(self) -> Iterator[tuple[ast.AST, set[str]]]:
        """Every expression that stands for something of the outside world, the longest first."""
        covered: set[int] = set()
        for node in self.nodes:
            if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del) or id(node) in covered:
                continue
            if isinstance(node, ast.Attribute | ast.Name | ast.Subscript | ast.Call):
                meanings = self.names.of(node)
                if meanings:
                    covered |= {id(each) for each in ast.walk(node) if isinstance(each, ast.Attribute | ast.Name)}
                    yield node, meanings

    def texts(self) -> Iterator[tuple[ast.AST, str]]:
        """Every text that the code is known to use, built from parts or not, the longest first; docstrings do not
        count."""
        covered = set(self.prose)
        for node in self.nodes:
            if not isinstance(node, ast.expr) or id(node) in covered:
                continue
            value = self.folder.value(node)
            if value is None or isinstance(node, ast.Name):
                continue
            if not isinstance(value, list):
                covered |= {id(each) for each in ast.walk(node)}
            if isinstance(value, bytes):
                value = value.decode("utf-8", "replace")
            if isinstance(value, str):
                yield node, value

    def tests(self) -> Iterator[ast.expr]:
        """Expressions on whose value it hangs what is done next."""
        for node in self.nodes:
            match node:
                case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
                    yield test
                case ast.comprehension(ifs=tests):
                    yield from tests
                case ast.Match(subject=subject):
                    yield subject
                case ast.BoolOp(values=values):
                    yield from values[:-1]
                case ast.Assert(test=test):
                    yield test
                case _:
                    pass

    def tainted(self, is_source: Callable[[ast.AST], bool], stop: Callable[[ast.AST], bool] | None = None) -> Taint:
        """What carries a value on: variables and functions of the file through which a source is seen.

        Args:
            is_source: whether a node itself is one.
            stop: nodes through which nothing is carried on.
        """
        return Taint(self.nodes, is_source, stop)


class Taint:
    """Which expressions see a source, directly or through variables and functions of the file."""

    def __init__(
        self, nodes: Iterable[ast.AST], is_source: Callable[[ast.AST], bool], stop: Callable[[ast.AST], bool] | None
    ) -> None:
        self._is_source, self._stop = is_source, stop
        self._names: set[str] = set()
        made = [pair for node in nodes for pair in _carriers(node)]
        for _ in range(_ROUNDS):
            before = len(self._names)
            for name, value in made:
                if name not in self._names and self.reaches(value):
                    self._names.add(name)
            if len(self._names) == before:
                break

    def reaches(self, node: ast.AST) -> bool:
        """Whether an expression sees a source."""
        waiting = [node]
        while waiting:
            each = waiting.pop()
            if self._is_source(each) or (isinstance(each, ast.Name) and each.id in self._names):
                return True
            if self._stop is None or not self._stop(each):
                waiting += ast.iter_child_nodes(each)
        return False


def _carriers(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((each.id, value) for target in targets for each in _stored(target))
        case (
            ast.AnnAssign(target=target, value=ast.expr() as value)
            | ast.AugAssign(target=target, value=value)
            | ast.NamedExpr(target=target, value=value)
        ):
            yield from ((each.id, value) for each in _stored(target))
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return | ast.Yield) and inner.value is not None:
                    yield name, inner.value
        case _:
            pass


def _stored(target: ast.AST) -> Iterator[ast.Name]:
    return (each for each in ast.walk(target) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store))
