"""Reads and checks ``method.yaml``, with errors that its author can act on."""

from __future__ import annotations

import difflib
import stat
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from aar.errors import BoundExceeded, UsageError
from aar.families import normalize_family
from aar.strict_yaml import YamlError, parse_yaml
from aar.text import make_storable
from aar.workers.worker_pool import run_in_worker_sync

MANIFEST_FILE = "method.yaml"
ENTRY_POINT = "run.py"
MAX_TITLE = 120
MAX_CLAIM = 2000
MAX_HYPOTHESIS = 1000
MAX_FAMILIES = 4
MAX_BYTES = 64 * 1024
_SECONDS = 10.0

_QUOTE = "Quote texts that hold a colon or begin with a sign"
_EXAMPLE = "title: ...\nclaim: ...\nfamilies: [ensemble]"


def _one_line(value: Any) -> Any:
    return " ".join(make_storable(value).split()) if isinstance(value, str) else value


def _family(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return normalize_family(value)
    except UsageError as error:
        raise ValueError(error.message) from error


class MethodManifest(BaseModel):
    """The author's description of a method, before any score exists."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid", frozen=True)

    title: Annotated[str, BeforeValidator(_one_line), Field(min_length=1, max_length=MAX_TITLE)]
    """One line."""
    claim: Annotated[str, BeforeValidator(_one_line), Field(min_length=1, max_length=MAX_CLAIM)]
    """One paragraph about the method."""
    hypothesis: Annotated[str, BeforeValidator(_one_line), Field(max_length=MAX_HYPOTHESIS)] = ""
    """One paragraph: the score that its author expects and why, written before there is one."""
    families: Annotated[list[Annotated[str, BeforeValidator(_family)]], Field(min_length=1, max_length=MAX_FAMILIES)]
    """Idea families, the leading one first; see ``aar.families``."""
    parent: Annotated[str | None, Field(max_length=64)] = None
    """Its parent: ``s<number>`` or the first digits of a snapshot's digest."""


def read_manifest(directory: Path) -> MethodManifest:
    """Read the manifest of a method's directory, whose ``run.py`` must exist too.

    It is parsed in another process. Blocks.

    Links are not followed, so the directory may be a copy of anything a sandbox wrote.

    Raises:
        UsageError: a text for the method's author: the file or field, its fault, and the remedy.
    """
    _require_file(directory, ENTRY_POINT, "It is started as: python run.py --data DIR --seed N --out FILE")
    _require_file(directory, MANIFEST_FILE, f"Write it with:\n{_EXAMPLE}")
    content = (directory / MANIFEST_FILE).read_bytes()
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"{MANIFEST_FILE} is too long: got {len(content)} bytes, expected at most {MAX_BYTES}", "Shorten it"
        )
    try:
        return run_in_worker_sync(parse_manifest, content, seconds=_SECONDS)
    except BoundExceeded as error:
        raise UsageError(f"{MANIFEST_FILE} cannot be read within its limits ({error.cause})", "Simplify it") from None


def parse_manifest(content: bytes) -> MethodManifest:
    """Parse a manifest's bytes. Raises UsageError."""
    try:
        fields = parse_yaml(content).value
    except UnicodeDecodeError as error:
        raise UsageError(f"{MANIFEST_FILE} is not UTF-8: {error.reason}", "Write it in UTF-8") from error
    except YamlError as error:
        raise UsageError(error.at(Path(MANIFEST_FILE))[:400], error.remedy or _QUOTE) from error
    if not isinstance(fields, dict):
        raise UsageError(f"{MANIFEST_FILE} has no fields", f"Write it with:\n{_EXAMPLE}")
    try:
        return MethodManifest.model_validate(fields)
    except ValidationError as error:
        raise UsageError(_explain(error), "") from error


def _require_file(directory: Path, name: str, remedy: str) -> None:
    try:
        mode = (directory / name).lstat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"the method has no {name}", remedy) from error
    if not stat.S_ISREG(mode):
        raise UsageError(f"{name} is not a regular file", "Copy the file itself; links and devices are not accepted")


def _explain(error: ValidationError) -> str:
    return f"{MANIFEST_FILE}: " + "; ".join(_complaint(detail) for detail in error.errors()[:5])


def _complaint(detail: Any) -> str:
    field = str(detail["loc"][0])[:60] if detail["loc"] else "the file"
    match detail["type"]:
        case "missing":
            return f"{field} is missing"
        case "extra_forbidden":
            known = list(MethodManifest.model_fields)
            near = difflib.get_close_matches(field, known, n=1)
            return f"unknown field {field!r}; " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}")
        case "string_too_short" | "too_short":
            return f"{field} is empty"
        case "string_too_long" | "too_long":
            unit = "characters" if isinstance(detail["input"], str) else "entries"
            return f"{field} has {len(detail['input'])} {unit}, at most {detail['ctx']['max_length']} fit"
        case "value_error":
            return f"{field}: {detail['ctx']['error']}"
        case _:
            return f"{field}: {detail['msg']}"
