"""``str_replace_based_edit_tool``: Anthropic's text editor on the sandbox's files (type text_editor_20250728)."""

from __future__ import annotations

import base64
import posixpath
from collections.abc import Awaitable, Callable
from typing import Any

from aar.errors import TransferRefused, UsageError, is_transient
from aar.forum.image_formats import media_type_of
from aar.researcher.tools.definitions import EditorInput, ToolResult, ToolRun
from aar.sandbox.protocol import WORKSPACE, Sandbox

_CONTEXT_LINES = 4
MAX_IMAGE_BYTES = 1024 * 1024
"""The service accepts more, but each image is sent again with every later turn."""
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})


async def editor_tool(run: ToolRun, args: EditorInput) -> ToolResult:
    """View or edit a file."""
    sandbox = await run.ctx.sandbox.current()
    path = posixpath.normpath(posixpath.join(WORKSPACE, args.path))
    try:
        if args.command == "view" and is_image(path) and run.ctx.capabilities.images:
            return ToolResult(f"{path}:", images=(await image_block(sandbox, path),))
        return ToolResult(await _COMMANDS[args.command](sandbox, path, args))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a directory") from error
    except PermissionError as error:
        raise UsageError(f"{path} cannot be read or written") from error
    except OSError as error:
        if is_transient(error):
            raise
        raise UsageError(f"{path}: {error.strerror}", "Check it with bash") from error
    except TransferRefused as error:
        raise UsageError(f"{path}: {error.message}", "Use bash on it") from error


async def _view(sandbox: Sandbox, path: str, args: EditorInput) -> str:
    try:
        text = await _text(sandbox, path)
    except IsADirectoryError:
        if args.view_range is not None:
            raise UsageError("view_range is for files", "Leave it out to list a directory") from None
        return await _listing(sandbox, path)
    lines = text.split("\n")
    first, last = args.view_range or (1, -1)
    end = len(lines) if last == -1 else last
    if not 1 <= first <= len(lines) or end < first or end > len(lines):
        raise UsageError(f"view_range {[first, last]} does not fit {path}", f"It has lines 1 to {len(lines)}")
    return _numbered(lines[first - 1 : end], first)


async def _create(sandbox: Sandbox, path: str, args: EditorInput) -> str:
    await sandbox.write(path, _needed(args.file_text, "file_text").encode("utf-8", "surrogatepass"))
    return f"File created successfully at: {path}"


async def _replace(sandbox: Sandbox, path: str, args: EditorInput) -> str:
    old, new = _needed(args.old_str, "old_str"), args.new_str or ""
    if not old:
        raise UsageError("old_str is empty", "Use insert to add text, or create to replace the file")
    text = await _text(sandbox, path)
    count = text.count(old)
    if count == 0:
        raise UsageError(f"No match found for replacement in {path}", "Check old_str, whitespace included")
    if count > 1:
        at = [text.count("\n", 0, place) + 1 for place in _places(text, old)]
        raise UsageError(f"Found {count} matches for replacement text, at lines {at}", "Make old_str unique")
    await sandbox.write(path, text.replace(old, new).encode())
    before = text[: text.index(old)].count("\n")
    return f"The file {path} has been edited.\n{_around(text.replace(old, new), before, new.count(chr(10)) + 1)}"


async def _insert(sandbox: Sandbox, path: str, args: EditorInput) -> str:
    # Older revisions of this tool type called the text new_str, and models still do at times.
    added = _needed(args.insert_text if args.insert_text is not None else args.new_str, "insert_text")
    if args.insert_line is None:
        raise UsageError("insert needs insert_line", "0 inserts at the beginning of the file")
    text = await _text(sandbox, path)
    lines = text.splitlines(keepends=True)
    if args.insert_line > len(lines):
        raise UsageError(f"insert_line {args.insert_line} is beyond the end of {path}", f"It has {len(lines)} lines")
    before, after = "".join(lines[: args.insert_line]), "".join(lines[args.insert_line :])
    if before and not before.endswith("\n"):
        before += "\n"
    if after and not added.endswith("\n"):
        added += "\n"
    await sandbox.write(path, (before + added + after).encode())
    return (
        f"The file {path} has been edited.\n{_around(before + added + after, args.insert_line, added.count(chr(10)))}"
    )


_COMMANDS: dict[str, Callable[[Sandbox, str, EditorInput], Awaitable[str]]] = {
    "view": _view,
    "create": _create,
    "str_replace": _replace,
    "insert": _insert,
}


async def _text(sandbox: Sandbox, path: str) -> str:
    data = await sandbox.read(path)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text ({len(data)} bytes)", "Use bash on it") from error


async def _listing(sandbox: Sandbox, path: str) -> str:
    command = ["find", path, "-mindepth", "1", "-maxdepth", "2", "-not", "-path", "*/.*", "-printf", "%y %s %p\n"]
    result = await sandbox.exec(command, timeout=30)
    rows = sorted(line.split(" ", 2) for line in result.output.splitlines() if line.count(" ") >= 2)
    shown = [f"{name}/" if kind == "d" else f"{name}  ({size} bytes)" for kind, size, name in rows]
    return "\n".join([f"{path}, two levels deep, without hidden files:", *sorted(shown)])


def _needed(value: str | None, name: str) -> str:
    if value is None:
        raise UsageError(f"this command needs {name}")
    return value


def _places(text: str, wanted: str) -> list[int]:
    places, start = [], text.find(wanted)
    while start >= 0:
        places.append(start)
        start = text.find(wanted, start + len(wanted))
    return places


def _around(text: str, line: int, height: int) -> str:
    lines = text.split("\n")
    first = max(0, line - _CONTEXT_LINES)
    return _numbered(lines[first : line + min(height, 40) + _CONTEXT_LINES], first + 1)


def _numbered(lines: list[str], first: int) -> str:
    return "\n".join(f"{number:6}\t{line}" for number, line in enumerate(lines, start=first))


def is_image(path: str) -> bool:
    """Return whether a path's name has an image suffix that models read."""
    return posixpath.splitext(path)[1].lower() in _SUFFIXES


async def image_block(sandbox: Sandbox, path: str) -> dict[str, Any]:
    """Return the image block of a file.

    Raises:
        UsageError: too large, or not an image of a kind that models read.
        FileNotFoundError, IsADirectoryError, PermissionError: as from ``Sandbox.read``.
    """
    try:
        data = await sandbox.read(path, limit=MAX_IMAGE_BYTES)
    except TransferRefused as error:
        raise UsageError(
            f"{path} is too large: expected at most {MAX_IMAGE_BYTES // 1024} KiB",
            "Save it smaller, with a lower dpi",
        ) from error
    kind = media_type_of(data)
    if kind is None:
        raise UsageError(f"{path} is not a PNG, JPEG, GIF or WebP image", "Save the figure again")
    source = {"type": "base64", "media_type": kind, "data": base64.b64encode(data).decode("ascii")}
    return {"type": "image", "source": source}
