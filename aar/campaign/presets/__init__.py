"""Presets: ready-made specs to start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from aar.errors import NotFound

_FOLDER = Path(__file__).parent


def list_presets() -> list[str]:
    """List the names of the presets."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_preset(name: str) -> dict[str, Any]:
    """Load the dotted fields of a preset. Raises NotFound."""
    if name not in list_presets():
        raise NotFound(f"unknown preset {name[:64]!r}", f"Use one of: {', '.join(list_presets())}")
    return dotted_fields(yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def dotted_fields(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the fields of a spec by dotted name, such as ``{"limits.usd": 5}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{above}{key}"
        flat |= dotted_fields(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
