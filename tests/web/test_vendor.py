"""Other people's code that the pages load: what lies here is what the manifest says, and all of it is told of."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import aar.web

VENDOR = Path(aar.web.__file__).parent / "static" / "vendor"
PACKAGES: list[dict[str, Any]] = yaml.safe_load((VENDOR / "manifest.yaml").read_text(encoding="utf-8"))["packages"]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package["name"]))
def test_each_file_is_the_published_one(package: dict[str, Any]) -> None:
    for name, file in package["files"].items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == file["sha256"], name
    assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", package["integrity"])
    assert package["licence"] in ("0BSD", "MIT")
    assert any(name.endswith("-LICENSE.txt") for name in package["files"])


def test_nothing_else_lies_there() -> None:
    named = {name for package in PACKAGES for name in package["files"]}
    assert {path.name for path in VENDOR.iterdir()} == named | {"manifest.yaml"}


def test_pages_load_no_other_file_of_it_than_these() -> None:
    templates = "".join(each.read_text(encoding="utf-8") for each in (VENDOR.parents[1] / "templates").iterdir())
    loaded = set(re.findall(r"vendor/([\w.-]+)", templates))
    assert loaded == {name for package in PACKAGES for name in package["files"] if not name.endswith(".txt")}
