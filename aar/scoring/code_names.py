"""Which variable a name in a Python file means, by Python's own rules of scope.

Needed to call two files the same code when they differ in the names of their variables only. Where a name could be
seen from outside the file's own text (a class's attribute, a keyword, a built-in, a name that code looks up as text),
it is no mere spelling and stays as it is.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass, field

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_BUILTINS = frozenset(dir(builtins))


@dataclass(eq=False, slots=True)
class Scope:
    """A stretch of code with variables of its own.

    Args:
        fixed: names bound here that are more than a spelling: they keep it.
    """

    kind: str
    parent: Scope | None = None
    bound: set[str] = field(default_factory=set)
    outer: dict[str, str] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)

    @property
    def module(self) -> Scope:
        """The file's outermost scope."""
        return self if self.parent is None else self.parent.module

    def owner(self, name: str) -> Scope | None:
        """The scope whose variable ``name`` means here; None where the file binds none."""
        declared = self.outer.get(name)
        if declared == "global":
            return self.module if name in self.module.bound else None
        if declared is None and name in self.bound:
            return self
        above = self.parent
        while above is not None and (above.kind == "class" or name not in above.bound or name in above.outer):
            if above.outer.get(name) == "global":
                return self.module if name in self.module.bound else None
            above = above.parent
        return above

    def keeps(self, name: str) -> bool:
        """Whether a variable of this scope keeps its spelling."""
        return self.kind == "class" or name in self.fixed or name in _BUILTINS or name.startswith("__")


def scopes_of(tree: ast.Module, *, keywords: frozenset[str], fixed_module: bool) -> dict[ast.AST, Scope]:
    """The scope that each function, lambda, class, comprehension and the module itself opens.

    Args:
        keywords: names that calls pass arguments by; arguments so named keep them.
        fixed_module: whether other files may import this one's names.
    """
    found: dict[ast.AST, Scope] = {}
    root = found[tree] = Scope("module")
    waiting: list[tuple[ast.AST, Scope]] = [(child, root) for child in ast.iter_child_nodes(tree)]
    while waiting:
        node, scope = waiting.pop()
        _bind(node, scope)
        inner = _opened(node, scope, keywords)
        if inner is not None:
            found[node] = inner
        waiting += [(child, inner if inner is not None and own else scope) for child, own in children(node)]
    # A class's body reads an outer variable of the same name until it binds its own.
    of_classes = {name for scope in found.values() if scope.kind == "class" for name in scope.bound}
    for scope in found.values():
        scope.fixed |= of_classes
    if fixed_module:
        root.fixed |= root.bound
    return found


def children(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """A node's children, each with whether it lies in the scope that the node opens."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        body = node.body if isinstance(node.body, list) else [node.body]
        inside = {id(each) for each in body}
        yield from ((child, id(child) in inside) for child in ast.iter_child_nodes(node))
    elif isinstance(node, COMPREHENSIONS):
        first = node.generators[0]
        yield first.iter, False
        yield from ((child, True) for child in (first.target, *first.ifs, *node.generators[1:]))
        yield from ((child, True) for child in ast.iter_child_nodes(node) if not isinstance(child, ast.comprehension))
    elif isinstance(node, ast.NamedExpr):
        yield node.value, False  # its target is bound outside any comprehension
    else:
        yield from ((child, False) for child in ast.iter_child_nodes(node))


def arguments_of(node: ast.arguments) -> list[ast.arg]:
    """All arguments in the order in which they are written."""
    starred = [each for each in (node.vararg, node.kwarg) if each is not None]
    return [*node.posonlyargs, *node.args, *node.kwonlyargs, *starred]


def bound_by_import(alias: ast.alias) -> str:
    """The variable that an import makes."""
    return alias.asname or alias.name.partition(".")[0]


def _opened(node: ast.AST, scope: Scope, keywords: frozenset[str]) -> Scope | None:
    if isinstance(node, ast.ClassDef):
        return Scope("class", scope)
    if isinstance(node, COMPREHENSIONS):
        return Scope("comprehension", scope)
    if not isinstance(node, FUNCTIONS):
        return None
    made = Scope("function", scope)
    names = {argument.arg for argument in arguments_of(node.args)}
    made.bound |= names
    # A library may pass the arguments of methods and of decorated functions by their names.
    seen = scope.kind == "class" or bool(getattr(node, "decorator_list", ()))
    made.fixed |= names if seen else names & keywords
    return made


def _bind(node: ast.AST, scope: Scope) -> None:
    match node:
        case ast.NamedExpr(target=ast.Name(id=name)):
            while scope.kind == "comprehension" and scope.parent is not None:
                scope = scope.parent
            scope.bound.add(name)
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            scope.bound.add(name)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            scope.bound.add(name)
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            scope.bound |= {bound_by_import(alias) for alias in names}
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            scope.bound.add(name)
        case ast.MatchMapping(rest=str(name)):
            scope.bound.add(name)
        case ast.Global(names=given):
            scope.outer |= dict.fromkeys(given, "global")
            scope.module.bound |= set(given)
        case ast.Nonlocal(names=given):
            scope.outer |= dict.fromkeys(given, "nonlocal")
        case _:
            pass
