"""Directions: loads the short, deliberately vague starting points and assigns them to researchers.

The public study saw a team with one different vague direction each climb faster and end higher than an undirected
one, and worse results from specific ready-made ideas; hence short texts, and an error for two that are the same.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from aar.campaign.spec import CampaignSpec
from aar.errors import SeedFileError
from aar.strict_yaml import YamlError, read_yaml

_LONGEST = 600


class _Entry(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    key: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    text: str = Field(min_length=1, max_length=_LONGEST)
    family: str = "other"


_entries: TypeAdapter[list[_Entry]] = TypeAdapter(list[_Entry])


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction: its key, its text for the researcher, and its idea family."""

    key: str
    text: str
    family: str


def load_directions(path: Path) -> list[Direction]:
    """Load the directions of a YAML file.

    The file is a list of ``key``, ``text`` and optional ``family``.

    Raises:
        SeedFileError: unreadable, malformed, empty, or two directions with one key or one text.
    """
    try:
        read = read_yaml(path)
    except FileNotFoundError as error:
        raise SeedFileError(f"no directions file {path}", "Name an existing file in directions.file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SeedFileError(f"cannot read directions {path}: {error}") from error
    except YamlError as error:
        raise SeedFileError(error.at(path), error.remedy) from None
    try:
        entries = _entries.validate_python(read.value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        line = read.line(tuple(str(step) for step in first["loc"]))
        where = f"{path}, line {line}" if line else str(path)
        raise SeedFileError(
            f"{where}: {place}: {first['msg']}", "A directions file is a list of entries with key and text"
        ) from error
    if not entries:
        raise SeedFileError(f"directions file {path} is empty", "Add entries with key and text")
    for one, other in itertools.combinations(entries, 2):
        if one.key == other.key:
            raise SeedFileError(f"{path}: two directions have the key {one.key}", "Give each its own key")
        if _normal(one.text) == _normal(other.text):
            raise SeedFileError(
                f"{path}: directions {one.key} and {other.key} have the same text",
                "Remove one; to give all researchers the same direction, use deal: same",
            )
    return [Direction(entry.key, " ".join(entry.text.split()), entry.family) for entry in entries]


def assign_directions(spec: CampaignSpec, available: Sequence[Direction]) -> list[Direction]:
    """Return one direction per researcher, as the spec deals them, with its overrides.

    Raises:
        SeedFileError: a named key is unknown, or there are too few distinct directions.
    """
    by_key = {direction.key: direction for direction in available}
    count = spec.researchers.count
    match spec.directions.deal:
        case "distinct":
            if count > len(available):
                raise SeedFileError(
                    f"{count} researchers need {count} distinct directions, the file has {len(available)}",
                    "Add directions, lower researchers.count, or use deal: same or named",
                )
            assigned = list(available[:count])
        case "same":
            key = spec.directions.names[0] if spec.directions.names else available[0].key
            assigned = [find_direction(by_key, key)] * count
        case "named":
            if len(spec.directions.names) != count:
                raise SeedFileError(
                    f"directions.names lists {len(spec.directions.names)} keys for {count} researchers",
                    "List exactly one key for each researcher",
                )
            assigned = [find_direction(by_key, key) for key in spec.directions.names]
    for index, override in spec.researchers.overrides.items():
        if override.direction is not None:
            assigned[index - 1] = find_direction(by_key, override.direction)
    return assigned


def find_direction(by_key: Mapping[str, Direction], key: str) -> Direction:
    """Return the direction of a key. Raises SeedFileError, which names the nearest key."""
    if key in by_key:
        return by_key[key]
    near = difflib.get_close_matches(key, by_key, n=1)
    raise SeedFileError(
        f"unknown direction {key[:64]}", f"Did you mean {near[0]}?" if near else f"Use one of: {', '.join(by_key)}"
    )


def _normal(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".!?")
