"""Loads a campaign spec from YAML.

Errors name the field, its line, and the nearest known field.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from aar.campaign.spec import CampaignSpec
from aar.errors import SpecError
from aar.strict_yaml import YamlDocument, YamlError, read_yaml


def load_spec(path: Path | None, overrides: Mapping[str, Any] | None = None) -> CampaignSpec:
    """Load a spec from a YAML file, or the quick campaign's, with overrides.

    Args:
        path: YAML file; None for the quick campaign.
        overrides: dotted field names to values, such as ``{"limits.usd": 3}``; they win over the file. A file that
            sets ``limits`` replaces the quick campaign's limits as a whole.

    Raises:
        SpecError: the file is unreadable, is not YAML, or is invalid; names the field and its line.
    """
    if path is None:
        read, where = YamlDocument({}, {}), "spec"
    else:
        read, where = _read(path), str(path)
        _anchor(read.value, path.parent)
    spec = _build(read.value, overrides or {}, where, read)
    _reject_login(spec.researchers.base_url or "", where)
    return spec


def override_stored_spec(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> CampaignSpec:
    """Return the spec stored as ``values``, with overrides on top. Raises SpecError."""
    return _build(copy.deepcopy(dict(values)), overrides, "spec")


def without_database_address(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a stored spec without the database's address.

    Earlier versions left the password in it.
    """
    return {name: value for name, value in spec.items() if name != "database"}


def spec_from_fields(fields: Mapping[str, Any]) -> tuple[CampaignSpec | None, list[tuple[str, str]]]:
    """Return a spec from dotted fields, or the error of each field.

    Other fields are those of the quick campaign.

    Returns:
        The spec, None if invalid; and field and message of each error, with the messages of ``load_spec``.
    """
    values: dict[str, Any] = {}
    try:
        for dotted, value in fields.items():
            _set(values, dotted, value, "spec")
        return CampaignSpec.model_validate(values), []
    except SpecError as error:
        return None, [("", error.message)]
    except ValidationError as error:
        return None, [(".".join(str(step) for step in each["loc"]), _describe_error(each)) for each in error.errors()]


def _build(
    values: dict[str, Any], overrides: Mapping[str, Any], where: str, read: YamlDocument | None = None
) -> CampaignSpec:
    for dotted, value in overrides.items():
        _set(values, dotted, value, where)
    try:
        return CampaignSpec.model_validate(values)
    except ValidationError as error:
        place = ".".join(str(step) for step in error.errors()[0]["loc"])
        line = read.line(tuple(place.split("."))) if read is not None and place not in overrides else 0
        where = f"{where}, line {line}" if line else where
        raise SpecError(f"{where}: {_explain(error)}", "See `aar spec example` and `aar spec schema`") from None


def _reject_login(address: str, where: str) -> None:
    """Refuse an address with a user name or a password.

    It is not quoted, because specs are stored, shown and compared.
    """
    if "@" in address.partition("//")[2].partition("/")[0]:
        raise SpecError(
            f"{where}: researchers.base_url contains a user name or a password: expected an address without them",
            "Give the server's key as ANTHROPIC_API_KEY, or AAR_ANTHROPIC_API_KEY_FILE",
        )


def _read(path: Path) -> YamlDocument:
    try:
        read = read_yaml(path)
    except FileNotFoundError as error:
        raise SpecError(f"no spec file {path}", "Write one with: aar spec example > campaign.yaml") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read spec {path}: {error}") from error
    except YamlError as error:
        raise SpecError(error.at(path), error.remedy or "See `aar spec example`") from None
    if read.value is None:
        return YamlDocument({}, {})
    if not isinstance(read.value, dict):
        raise SpecError(
            f"spec {path} is invalid: got a {type(read.value).__name__}, expected fields", "See `aar spec example`"
        )
    return read


def _anchor(values: dict[str, Any], folder: Path) -> None:
    """Resolve a directions file of a spec relative to that spec."""
    directions = values.get("directions")
    if isinstance(directions, dict) and isinstance(directions.get("file"), str):
        values["directions"] = {**directions, "file": str(folder / Path(directions["file"]).expanduser())}


def _set(values: dict[str, Any], dotted: str, value: Any, where: str) -> None:
    *parents, last = dotted.split(".")
    for key, default in zip(parents, _defaults(parents), strict=True):
        inside = values.get(key, default)
        if not isinstance(inside, dict):
            raise SpecError(f"{where}: {key} is invalid: got {inside!r}, expected fields", "See `aar spec example`")
        values[key] = inside
        values = inside
    values[last] = value


def _defaults(parents: list[str]) -> list[dict[str, Any]]:
    """Return the defaults of an absent part: the quick campaign's own values."""
    part: Any = CampaignSpec().model_dump(exclude_none=True)
    found = []
    for key in parents:
        part = part.get(key, {})
        found.append(dict(part))
    return found


def _explain(error: ValidationError) -> str:
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return _describe_error(error.errors()[0]) + more


def _describe_error(first: ErrorDetails) -> str:
    place = ".".join(str(step) for step in first["loc"])
    if first["type"] == "extra_forbidden":
        *parents, wrong = (str(step) for step in first["loc"])
        known = list(_fields(parents))
        near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        return f"no field {place}; {hint}"
    message = first["msg"].removeprefix("Value error, ")
    # An address may contain a password.
    quoted = not isinstance(first["input"], dict | BaseModel) and first["loc"][-1:] not in (
        ("database",),
        ("base_url",),
    )
    given = f" (got {first['input']!r})" if quoted else ""
    return f"{place or 'spec'}: {message[0].lower()}{message[1:]}{given}"


def _fields(parents: list[str]) -> list[str]:
    model: type[BaseModel] = CampaignSpec
    for key in parents:
        field = model.model_fields.get(key)
        if field is None:
            continue  # a key of a mapping, such as a researcher's number
        kinds = [field.annotation, *get_args(field.annotation)]
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)
