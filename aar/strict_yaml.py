"""A strict YAML reader that rejects ambiguous values with their line and a remedy."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_MOST_BYTES = 1024**2
_DEEPEST = 30
_MOST_NODES = 50_000
"""Most values in total, where each use of an anchor counts with its expansion."""
_BASE_60 = re.compile(r"\A[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_OTHER_BASE = re.compile(r"[-+]?0[box][0-9a-fA-F_]+")

FieldPath = tuple[str, ...]


class YamlError(Exception):
    """A text that is not YAML, or is ambiguous.

    Args:
        line: from 1; 0 where no line applies.
        problem: ``<noun> <problem>: got X, expected Y``.
        remedy: the remedy in the imperative.
    """

    def __init__(self, line: int, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem
        self.remedy = remedy

    def at(self, path: Path) -> str:
        """Return the problem with its file and line."""
        return f"{path}, line {self.line}: {self.problem}" if self.line else f"{path}: {self.problem}"


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A parsed YAML text.

    Args:
        value: its content.
        lines: by path of keys (``("limits", "usd")``, list indices as texts): the line of that value.
    """

    value: Any
    lines: Mapping[FieldPath, int]

    def line(self, path: FieldPath) -> int:
        """Return the line of a value, or of the nearest part around it.

        0 where there is none.
        """
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 0


def read_yaml(path: Path) -> YamlDocument:
    """Read a YAML file.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read.
        YamlError: it is not YAML, or is ambiguous.
    """
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise YamlError(0, f"it is too large: got more than {_MOST_BYTES:,} bytes", "Shorten it")
    return parse_yaml(data)


def parse_yaml(data: bytes) -> YamlDocument:
    """Read a YAML text of bounded size.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
        YamlError: as ``read_yaml``.
    """
    text, loader = data.decode("utf-8"), None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return YamlDocument(None, {})
        _measure(root)
        lines: dict[FieldPath, int] = {}
        _locate(root, (), lines)
        return YamlDocument(loader.construct_document(root), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(filter(None, (error.context, error.problem)))
        raise YamlError(mark.line + 1 if mark else 0, f"it is not YAML: {said}") from None
    except yaml.YAMLError as error:
        raise YamlError(0, f"it is not YAML: {' '.join(str(error).split())}") from None
    except (ValueError, OverflowError) as error:
        raise YamlError(0, f"it is not YAML: {error}") from None
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(yaml.SafeLoader):
    _depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self._depth += 1
        if self._depth > _DEEPEST:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise YamlError(mark.line + 1, f"it is nested too deep: got more than {_DEEPEST} levels", "Flatten it")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise ConstructorError(
                    "while reading a key", None, "found one that is not plain text", key_node.start_mark
                )
            line = key_node.start_mark.line + 1
            if key in seen:
                raise YamlError(
                    line, f"{key} is written twice: got it on line {seen[key]} too, expected it once", "Remove one"
                )
            seen[key] = line
        return super().construct_mapping(node, deep)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        if isinstance(node, ScalarNode) and node.style is None:
            _check_number(node)
        return super().construct_object(node, deep)


def _check_number(node: ScalarNode) -> None:
    """Reject unintended numbers of YAML 1.1."""
    text, line = str(node.value), node.start_mark.line + 1
    if _BASE_60.fullmatch(text) and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        raise YamlError(
            line, f"{text} is a number in base 60: expected a decimal one", 'Write it out, or in quotes for a text: "…"'
        )
    if _LEADING_ZERO.fullmatch(text):
        raise YamlError(
            line,
            f"{text} begins with a zero, which makes it octal for some readers: expected a decimal number",
            'Leave the zero out, or put it in quotes for a text: "…"',
        )
    if _OTHER_BASE.fullmatch(text):
        raise YamlError(
            line, f"{text} is in another base: expected a decimal number", 'Write it out, or in quotes for a text: "…"'
        )


def _measure(root: Node) -> None:
    """Reject a document whose anchors expand beyond the limit, or refer to themselves."""
    sizes: dict[int, int] = {}

    def size(node: Node, inside: frozenset[int]) -> int:
        if id(node) in inside:
            raise YamlError(node.start_mark.line + 1, "an anchor contains itself", "Write the value out")
        if id(node) not in sizes:
            inside |= {id(node)}
            parts = _parts(node)
            sizes[id(node)] = 1 + sum(size(part, inside) for part in parts)
        if sizes[id(node)] > _MOST_NODES:
            raise YamlError(
                node.start_mark.line + 1, f"it is too large: got more than {_MOST_NODES:,} values", "Shorten it"
            )
        return sizes[id(node)]

    size(root, frozenset())


def _parts(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _locate(node: Node, path: FieldPath, lines: dict[FieldPath, int]) -> None:
    """Record the line of every value. Within an anchor, that is the anchor's line."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                lines[*path, str(key.value)] = key.start_mark.line + 1
                _locate(value, (*path, str(key.value)), lines)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            lines[*path, str(index)] = value.start_mark.line + 1
            _locate(value, (*path, str(index)), lines)
