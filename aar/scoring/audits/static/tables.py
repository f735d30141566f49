"""Rules about knowledge that a method brings along: tables of answers, encoded texts, data files.

Bounds, a method's own prompts and word lists in mind: a written-out table is suspicious from 400 values and refused
from 4,000; encoded text from 400 characters and refused from 8,000; data files from 16 KiB and refused from 256 KiB.
The largest shipped method has fewer than 40 values.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from aar.scoring.audits.protocol import Verdict
from aar.scoring.audits.static.source import Hit, Source

VALUES = (400, 4_000)
ENCODED_CHARACTERS = (400, 8_000)
PROSE_CHARACTERS = (20_000, 200_000)
INTEGER_DIGITS = (100, 1_000)
FILE_BYTES = (16 * 1024, 256 * 1024)
CODE_BYTES = (200_000, 2_000_000)
_DISPLAYS = (ast.List, ast.Tuple, ast.Set, ast.Dict)
_SPACES = 0.02
"""Text for people has more white space than this share."""
_ODD = 0.02
"""Text for people has fewer characters that cannot be printed than this share."""


def table(source: Source) -> Iterator[Hit]:
    """Literals in one file: each table, and all of them together."""
    seen: set[int] = set()
    values = encoded = prose = 0
    for node in source.nodes:
        if isinstance(node, _DISPLAYS) and id(node) not in seen:
            inside = list(ast.walk(node))
            seen |= {id(each) for each in inside}
            count = sum(isinstance(each, ast.Constant) for each in inside)
            values += count
            yield from _judge(source, node, count, VALUES, "a table of {count:,} written-out values")
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, int):
                digits = node.value.bit_length() * 0.30103
                yield from _judge(source, node, int(digits), INTEGER_DIGITS, "a whole number of {count:,} digits")
            if isinstance(node.value, str | bytes):
                length = len(node.value)
                if _is_encoded(node.value):
                    encoded += length
                    yield from _judge(source, node, length, ENCODED_CHARACTERS, "{count:,} characters of encoded text")
                else:
                    prose += length
    start = source.nodes[0]
    for total, bounds, what in (
        (values, (VALUES[1], 2 * VALUES[1]), "{count:,} written-out values in all"),
        (encoded, (ENCODED_CHARACTERS[1], 2 * ENCODED_CHARACTERS[1]), "{count:,} characters of encoded text in all"),
        (prose, PROSE_CHARACTERS, "{count:,} characters of text in all"),
    ):
        yield from _judge(source, start, total, bounds, what)


def files(directory: Path, others: Sequence[str], code: Sequence[str]) -> Iterator[Hit]:
    """The method's files by size.

    Args:
        others: paths of files that are not Python.
        code: paths of files that are.
    """
    for names, bounds, what in ((others, FILE_BYTES, "data beside the code"), (code, CODE_BYTES, "Python code")):
        sizes = {name: (directory / name).lstat().st_size for name in names if not name.endswith(".pyc")}
        total = sum(sizes.values())
        verdict = _verdict(total, bounds)
        if verdict is not None:
            largest = max(sizes, key=lambda name: sizes[name])
            yield Hit("static.table", verdict, largest, 1, f"{total:,} bytes of {what}")


def _is_encoded(text: str | bytes) -> bool:
    sample = text if isinstance(text, str) else text.decode("latin-1")
    spaces = sum(map(str.isspace, sample))
    odd = sum(not each.isprintable() and not each.isspace() for each in sample)
    return len(sample) >= 64 and (spaces < _SPACES * len(sample) or odd > _ODD * len(sample))


def _judge(source: Source, node: ast.AST, count: int, bounds: tuple[int, int], what: str) -> Iterator[Hit]:
    verdict = _verdict(count, bounds)
    if verdict is not None:
        yield source.hit("table", verdict, node, what.format(count=count))


def _verdict(count: int, bounds: tuple[int, int]) -> Verdict | None:
    if count >= bounds[1]:
        return Verdict.DISQUALIFIED
    return Verdict.FLAGGED if count >= bounds[0] else None
