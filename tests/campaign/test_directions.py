"""Directions files and how they are dealt."""

from __future__ import annotations

from pathlib import Path

import pytest

from aar.campaign.directions import assign_directions, load_directions
from aar.campaign.spec import load_spec
from aar.errors import SeedFileError

THREE = """
- {key: geometry, text: Look at the shape of the representation space., family: model-internals}
- {key: noise, text: Think of the teacher as a noisy instrument., family: other}
- key: crowd
  text: >
    What do many weak
    opinions say together?
"""


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    path = tmp_path / "directions.yaml"
    path.write_text(THREE)
    return path


def test_directions_are_read_in_order(seeds: Path) -> None:
    found = load_directions(seeds)
    assert [direction.key for direction in found] == ["geometry", "noise", "crowd"]
    assert found[2].text == "What do many weak opinions say together?"
    assert found[2].family == "other"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- {key: a, text: One way.}\n- {key: b, text: ' one  WAY '}", "directions a and b have the same text"),
        ("- {key: a, text: One.}\n- {key: a, text: Two.}", "two directions have the key a"),
        ("[]", "is empty"),
        ("- {key: a}", "text"),
        ("- {key: 'A b', text: x}", "key"),
        ("key: a", "valid list"),
        ("- {key: a, text: [}", "is not YAML"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(SeedFileError) as caught:
        load_directions(path)
    assert str(path) in caught.value.message
    assert says in caught.value.message


def test_distinct_gives_each_its_own(seeds: Path) -> None:
    spec = load_spec(None, {"researchers.count": 3})
    assert len({direction.key for direction in assign_directions(spec, load_directions(seeds))}) == 3


def test_distinct_with_too_few_says_so(seeds: Path) -> None:
    with pytest.raises(SeedFileError, match="4 researchers need 4 distinct directions, the file has 3"):
        assign_directions(load_spec(None), load_directions(seeds))


def test_same_gives_all_the_one_named(seeds: Path) -> None:
    spec = load_spec(None, {"directions.deal": "same", "directions.names": ["noise"]})
    assert [direction.key for direction in assign_directions(spec, load_directions(seeds))] == ["noise"] * 4


def test_named_and_overrides(seeds: Path) -> None:
    spec = load_spec(
        None,
        {
            "researchers.count": 2,
            "directions.deal": "named",
            "directions.names": ["crowd", "noise"],
            "researchers.overrides": {2: {"direction": "geometry"}},
        },
    )
    assert [direction.key for direction in assign_directions(spec, load_directions(seeds))] == ["crowd", "geometry"]


def test_an_unknown_name_gives_the_nearest(seeds: Path) -> None:
    spec = load_spec(None, {"directions.deal": "same", "directions.names": ["geometri"]})
    with pytest.raises(SeedFileError, match="Did you mean geometry"):
        assign_directions(spec, load_directions(seeds))
