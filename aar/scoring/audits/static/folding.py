"""Works out texts and numbers that a program builds from constants alone, without running any of it."""

from __future__ import annotations

import ast
import base64
import binascii
import codecs
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Sequence

Plain = str | bytes | int | list["Plain"]
"""What can be worked out; tuples count as lists."""
_LONGEST = 100_000
_TEXT_METHODS = frozenset({"lower", "upper", "strip", "lstrip", "rstrip", "title", "swapcase", "removeprefix"})
_WIDE = re.compile(r"%[^sdr%]")
_FANCY = re.compile(r"[:.\[]")
_DECODERS: dict[str, Callable[[str | bytes], bytes]] = {
    "b64decode": base64.b64decode,
    "urlsafe_b64decode": base64.urlsafe_b64decode,
    "b32decode": base64.b32decode,
    "b16decode": base64.b16decode,
    "b85decode": base64.b85decode,
    "unhexlify": binascii.unhexlify,
    "a2b_base64": binascii.a2b_base64,
}
_PATH_CLASSES = frozenset({"Path", "PurePath", "PosixPath", "PurePosixPath"})


class Folder:
    """The constants of one file. Variables count where the file gives them a value once.

    Args:
        nodes: every node of its tree.
    """

    def __init__(self, nodes: Sequence[ast.AST]) -> None:
        stored = Counter(node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load))
        stored.update(node.arg for node in nodes if isinstance(node, ast.arg))
        self._variables: dict[str, ast.expr] = {}
        for node in nodes:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if stored[name] == 1:
                    self._variables[name] = value
                case _:
                    pass
        self._known: dict[int, Plain | None] = {}
        self.decoded: set[int] = set()
        """Ids of nodes whose value was hidden by an encoding."""

    def text(self, node: ast.AST) -> str | None:
        """The text that an expression always is, if that can be worked out."""
        value = self.value(node)
        return value if isinstance(value, str) else None

    def value(self, node: ast.AST) -> Plain | None:
        """The text, bytes, whole number or list of these that an expression always is; None if that is unknown."""
        if id(node) not in self._known:
            self._known[id(node)] = None  # a variable that is built from itself
            try:
                value = self._work_out(node)
            except (ValueError, TypeError, IndexError, KeyError, OverflowError, LookupError, AttributeError):
                value = None
            too_long = isinstance(value, str | bytes | list) and len(value) > _LONGEST
            self._known[id(node)] = None if too_long else value
        return self._known[id(node)]

    def _work_out(self, node: ast.AST) -> Plain | None:
        match node:
            case ast.Constant(value=str() | bytes() as value):
                return value
            case ast.Constant(value=int(value)) if not isinstance(value, bool):
                return value
            case ast.Name(id=name) if name in self._variables:
                return self.value(self._variables[name])
            case ast.Attribute(attr="sep"):  # os.sep
                return "/"
            case ast.JoinedStr(values=parts):
                return self._joined(parts)
            case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
                found = self.value(value)
                return None if found is None or isinstance(found, list | bytes) else str(found)
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                found_all = [self.value(each) for each in elements]
                return None if None in found_all else [each for each in found_all if each is not None]
            case ast.BinOp(left=left, op=op, right=right):
                return self._operation(left, op, right)
            case ast.Subscript(value=value, slice=ast.Slice(lower=lower, upper=upper, step=step)):
                return self._sliced(self.value(value), lower, upper, step)
            case ast.Subscript(value=value, slice=key):
                found, at = self.value(value), self.value(key)
                return found[at] if isinstance(found, str | bytes | list) and isinstance(at, int) else None
            case ast.GeneratorExp() | ast.ListComp():
                return self._mapped(node)
            case ast.Call(func=func, args=arguments, keywords=[]):
                return self._call(node, func, arguments)
            case _:
                return None

    def _joined(self, parts: list[ast.expr]) -> str | None:
        found = [self.value(part) for part in parts]
        return None if None in found else _concatenated("", [str(each) for each in found if not isinstance(each, list)])

    def _sliced(
        self, value: Plain | None, lower: ast.expr | None, upper: ast.expr | None, step: ast.expr | None
    ) -> Plain | None:
        first, last = (None if end is None else self.value(end) for end in (lower, upper))
        by = -1 if isinstance(step, ast.UnaryOp) else None if step is None else self.value(step)
        if not isinstance(value, str | bytes | list):
            return None
        if isinstance(first, int | None) and isinstance(last, int | None) and isinstance(by, int | None):
            return value[first:last:by]
        return None

    def _operation(self, left: ast.expr, op: ast.operator, right: ast.expr) -> Plain | None:
        one, other = self.value(left), self.value(right)
        if one is None or other is None:
            return None
        match op, one, other:
            case ast.Add(), str(), str():
                return one + other
            case ast.Add(), bytes(), bytes():
                return one + other
            case ast.Add(), list(), list():
                return one + other
            case ast.Mult(), str() | bytes() | list(), int() if 0 <= other * len(one) <= _LONGEST:
                return one * other
            case ast.Div(), str(), str():  # only paths are divided
                return posixpath.join(one, other)
            case ast.Mod(), str(), str() | int() | list() if not _WIDE.search(one):
                values = other if isinstance(other, list) else [other]
                return _concatenated("", [one % tuple(values)]) if _small(values) else None
            case ((ast.Add() | ast.Sub() | ast.BitXor()), int(), int()):
                return (
                    one + other if isinstance(op, ast.Add) else one - other if isinstance(op, ast.Sub) else one ^ other
                )
            case _:
                return None

    def _mapped(self, node: ast.GeneratorExp | ast.ListComp) -> Plain | None:
        """``chr(n) for n in (…)``, with a shift or a mask."""
        match node.elt, node.generators:
            case (
                ast.Call(func=ast.Name(id="chr"), args=[inner]),
                [ast.comprehension(target=ast.Name(id=each), iter=source, ifs=[])],
            ):
                values = self.value(source)
                if not isinstance(values, list | bytes):
                    return None
                numbers = [each for each in values if isinstance(each, int)]
                match inner:
                    case ast.Name(id=name) if name == each:
                        return [chr(number) for number in numbers]
                    case ast.BinOp(left=ast.Name(id=name), op=op, right=right) if name == each:
                        by = self.value(right)
                        if isinstance(by, int):
                            return [chr(_shifted(number, op, by)) for number in numbers]
        return None

    def _call(self, node: ast.AST, func: ast.expr, arguments: list[ast.expr]) -> Plain | None:
        given = [self.value(each) for each in arguments]
        if None in given:
            return None
        match func, given:
            case ast.Name(id="chr"), [int(number)]:
                return chr(number)
            case ast.Name(id="str"), [str() | int() as value]:
                return str(value)
            case ast.Name(id="bytes" | "bytearray"), [list() as numbers]:
                return bytes(each for each in numbers if isinstance(each, int))
            case ((ast.Name(id=name) | ast.Attribute(attr=name)), [str(), *_]) if name in _PATH_CLASSES or (
                name == "join" and _is_path_join(func)
            ):
                return posixpath.join(*[each for each in given if isinstance(each, str)])
            case ast.Attribute(value=value, attr=attr), _:
                return self._method(node, self.value(value), attr, given)
            case _:
                return None

    def _method(self, node: ast.AST, owner: Plain | None, attr: str, given: list[Plain | None]) -> Plain | None:
        match owner, attr, given:
            case str(), "join", [list() | str() as parts]:
                texts = [each for each in parts if isinstance(each, str)]
                return _concatenated(owner, texts) if len(texts) == len(parts) else None
            case str(), "format", _ if not _FANCY.search(owner) and _small(given):
                return _concatenated("", [owner.format(*given)])
            case str(), "split", [] | [str()]:
                return [*owner.split(given[0] if given and isinstance(given[0], str) else None)]
            case str(), "replace", [str(old), str(new)]:
                return owner.replace(old, new) if len(owner) * len(new) <= _LONGEST else None
            case str(), "encode", _:
                return owner.encode()
            case str(), "joinpath", _:
                return posixpath.join(owner, *[each for each in given if isinstance(each, str)])
            case str(), _, _ if attr in _TEXT_METHODS:
                return str(getattr(owner, attr)(*given))
            case bytes(), "decode", []:
                return owner.decode()
            case _, _, [str() | bytes() as value] if attr in _DECODERS:
                return self._found(node, _DECODERS[attr](value))
            case _, "fromhex", [str(value)]:
                return self._found(node, bytes.fromhex(value))
            case _, "decode", [str(value), "rot13" | "rot_13"]:
                return self._found(node, codecs.decode(value, "rot13"))
            case _:
                return None

    def _found(self, node: ast.AST, value: Plain) -> Plain:
        self.decoded.add(id(node))
        return value


def _shifted(number: int, op: ast.operator, by: int) -> int:
    match op:
        case ast.Add():
            return number + by
        case ast.Sub():
            return number - by
        case ast.BitXor():
            return number ^ by
        case _:
            raise ValueError(op)


def _small(values: Sequence[object]) -> bool:
    return all(isinstance(each, str | int) and len(str(each)) < 1000 for each in values)


def _concatenated(separator: str, parts: list[str]) -> str | None:
    length = sum(map(len, parts)) + len(separator) * len(parts)
    return separator.join(parts) if length <= _LONGEST else None


def _is_path_join(func: ast.expr) -> bool:
    """``os.path.join`` or an alias of it, rather than the method of a text."""
    return isinstance(func, ast.Name) or (
        isinstance(func, ast.Attribute) and isinstance(func.value, ast.Attribute | ast.Name)
    )
