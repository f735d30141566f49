"""Renders a method for the reviewer: numbered lines, truncated, inside an unforgeable delimiter.

The delimiter is random, so the method's content cannot forge it.
"""

from __future__ import annotations

import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aar.scoring.audits.protocol import AuditInput
from aar.scoring.submissions.method_manifest import ENTRY_POINT, MANIFEST_FILE
from aar.text.sanitize import clean_line, clean_text

MAX_LISTING_CHARACTERS = 60_000
"""Characters of a method that are shown; the rest is named and left out."""
_LONGEST_LINE = 2000
_LONGEST_FILE = 4 * 1024**2
_NEAR = 2
"""Lines by which a quote may be off: models miscount."""


@dataclass(frozen=True, slots=True)
class CodeListing:
    """The numbered listing of a method.

    Args:
        text: the block, marks included.
        lines: of each file shown, by path, as the reviewer reads them.
        left_out: a text that names the omitted parts; empty when the whole method is shown.
    """

    text: str
    lines: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...]

    def find_quote(self, path: str, line: int, quote: str) -> int | None:
        """Return the line, from 1, of a quote at or next to ``line``.

        Returns None if the quote does not occur there.
        """
        wanted = " ".join(quote.split())
        rows = self.lines.get(path, ())
        if len(wanted) < 3:
            return None
        for number in sorted(range(max(line - _NEAR, 1), line + _NEAR + 1), key=lambda each: abs(each - line)):
            if number <= len(rows) and wanted in " ".join(rows[number - 1].split()):
                return number
        return None


def render_code_listing(dossier: AuditInput, *, most: int = MAX_LISTING_CHARACTERS) -> CodeListing:
    """Render a method's claim and code, entry point first.

    Reads files: call it outside the event loop.

    Args:
        most: characters of code that are shown.
    """
    mark = secrets.token_hex(8)
    parts = [
        f"title: {clean_line(dossier.title)}",
        f"claim: {clean_line(dossier.claim)}",
        f"hypothesis: {clean_line(dossier.hypothesis) or '(none was given)'}",
    ]
    shown: dict[str, tuple[str, ...]] = {}
    left_out: list[str] = []
    left = most
    for path in _files(dossier.code):
        name = clean_line(path.relative_to(dossier.code).as_posix())
        text = _text(path)
        if text is None:
            parts.append(f"file {name}: not text, {path.stat().st_size:,} bytes")
            continue
        rows, cut = _bounded(clean_text(text).split("\n"), left)
        left -= sum(map(len, rows))
        shown[name] = rows
        parts.append("\n".join([f"file {name}:", *(f"{number}| {row}" for number, row in enumerate(rows, 1))]))
        if cut:
            left_out.append(f"{cut} of {name}")
            parts.append(f"(left out here because the method is too long: {cut} of {name})")
    body = "\n\n".join(parts)
    return CodeListing(f"[method {mark}]\n{body}\n[method {mark}]", shown, tuple(left_out))


def _files(code: Path) -> list[Path]:
    found = [path for path in code.rglob("*") if stat.S_ISREG(path.lstat().st_mode)]
    return sorted(found, key=lambda path: (path.name != ENTRY_POINT, path.name != MANIFEST_FILE, path.as_posix()))


def _text(path: Path) -> str | None:
    if path.stat().st_size > _LONGEST_FILE:
        return None
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None


def _bounded(rows: list[str], left: int) -> tuple[tuple[str, ...], str]:
    """Return as many lines as fit, and a text that names the omitted ones."""
    kept: list[str] = []
    shortened = 0
    for row in rows:
        left -= min(len(row), _LONGEST_LINE)
        if left < 0:
            break
        shortened += len(row) > _LONGEST_LINE
        kept.append(
            row if len(row) <= _LONGEST_LINE else f"{row[:_LONGEST_LINE]} (and {len(row) - _LONGEST_LINE} more)"
        )
    missing = len(rows) - len(kept)
    words = [f"{missing} lines"] if missing else []
    words += [f"the ends of {shortened} long lines"] if shortened else []
    return tuple(kept), " and ".join(words)
