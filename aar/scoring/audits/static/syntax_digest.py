"""Computes a digest of a method's syntax trees, a hint for people.

Equal digests mean that two submissions differ in layout or names alone.

Nothing acts on it: code can see its own layout and names, so equal trees may do different things.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from aar.scoring.submissions.method_manifest import MANIFEST_FILE

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
