"""Classifies a method's files by their content, not by their names.

Finds archives, programs and data.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from aar.scoring.audits.static.code_rules import LiteralCounts, Violation

MAX_NUMBERS = 150
"""Written-out numbers that are flagged, all lists together; the largest shipped method has under 40."""
MAX_VALUES = 400
ENCODED_CHARACTERS = 400
PROSE_CHARACTERS = 20_000
BINARY_BYTES = 512
TEXT_BYTES = 16 * 1024
CODE_BYTES = 200_000
_ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")
_PROGRAMS = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\0asm", b"!<arch>")
_HEAD = 512
_TAR = slice(257, 262)


def check_file_contents(directory: Path, code: Mapping[str, int], others: Mapping[str, int]) -> Iterator[Violation]:
    """Check the content of a method's files.

    Args:
        code, others: sizes of Python files and of all others, by their paths; no links.
    """
    binary = 0
    for name, size in {**code, **others}.items():
        kind = _kind(directory / name, size)
        if kind == "data":
            binary += size
        elif kind:
            yield Violation("static.hidden_code", name, 1, kind)
    for sizes, total, bound, what in (
        (others, binary, BINARY_BYTES, "binary data beside the code"),
        (others, sum(others.values()), TEXT_BYTES, "data beside the code"),
        (code, sum(code.values()), CODE_BYTES, "Python code"),
    ):
        if total >= bound:
            yield Violation("static.table", max(sizes, key=lambda name: sizes[name]), 1, f"{total:,} bytes of {what}")


def check_literals(seen: LiteralCounts) -> Iterator[Violation]:
    """Flag the literals in a method's code if there are many."""
    for count, bound, what in (
        (seen.numbers, MAX_NUMBERS, "written-out numbers"),
        (seen.values, MAX_VALUES, "written-out values"),
        (seen.encoded, ENCODED_CHARACTERS, "characters of encoded text"),
        (seen.prose, PROSE_CHARACTERS, "characters of text"),
    ):
        if count >= bound:
            yield Violation("static.table", *seen.where, f"{count:,} {what} in all")


def _kind(path: Path, size: int) -> str:
    """Return the kind of a file: ``data`` for binary content, empty for text."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
        if zipfile.is_zipfile(stream) or head.startswith(_ARCHIVES) or head[_TAR] == b"ustar":
            return "an archive, which may hold code"
        if head.startswith(_PROGRAMS) or (head[2:4] == b"\r\n" and path.suffix.startswith(".py") and b"\0" in head):
            return "compiled code"
        if head.startswith(b"#!") and b"python" not in head.splitlines()[0]:
            return "a script that is not Python"
        if size >= TEXT_BYTES:
            return ""  # counted by its size, text or not
        stream.seek(0)
        content = stream.read(TEXT_BYTES)
    try:
        return "data" if "\0" in content.decode("utf-8") else ""
    except UnicodeDecodeError:
        return "data"
