"""What ships in ``research_seeds/`` can be started as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.campaign.directions import load_directions
from aar.campaign.spec import load_spec
from aar.families import FAMILIES
from aar.settings import get_settings

from .conftest import Terminal

SEEDS = Path(__file__).parents[2] / "research_seeds"
SPECS = ("campaigns/quick", "campaigns/overnight", "campaigns/public-study", "undirected")


@pytest.fixture
def keyed(empty: Terminal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-only-for-this-test")
    get_settings.cache_clear()
    yield empty
    get_settings.cache_clear()


@pytest.mark.parametrize("name", SPECS)
def test_a_ready_made_spec_holds(keyed: Terminal, name: str) -> None:
    said = keyed.ok("spec", "validate", str(SEEDS / f"{name}.yaml"))
    assert "researchers on weak_to_strong" in said


def test_every_ready_made_spec_and_directions_file_is_tested() -> None:
    found = [*SEEDS.glob("*.yaml"), *(SEEDS / "campaigns").glob("*.yaml")]
    names = {each.relative_to(SEEDS).with_suffix("").as_posix() for each in found}
    assert names == {*SPECS, "weak_to_strong", "no_direction"}


def test_the_control_differs_from_the_night_in_directions_only() -> None:
    night, control = (load_spec(SEEDS / f"{name}.yaml").model_dump() for name in ("campaigns/overnight", "undirected"))
    assert {field for field in night if night[field] != control[field]} == {"name", "directions"}


def test_directions_are_short_and_lean_to_every_family() -> None:
    found = load_directions(SEEDS / "weak_to_strong.yaml")
    assert len(found) >= 10
    assert {each.family for each in found} == set(FAMILIES)
    assert max(len(each.text) for each in found) <= 200
