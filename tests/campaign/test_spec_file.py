"""Reading specs: what holds is read, what does not is named with the nearest right thing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from aar.campaign.spec_file import load_spec
from aar.errors import SpecError


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    return tmp_path / "campaign.yaml"


def test_no_file_gives_the_quick_campaign() -> None:
    spec = load_spec(None)
    assert (spec.problem, spec.researchers.count, spec.directions.deal) == ("weak_to_strong", 4, "distinct")
    assert spec.limits.usd == Decimal(5)


def test_flags_win_over_the_file(spec_file: Path) -> None:
    spec_file.write_text("name: night\nlimits: {usd: 20, hours: 8}\nresearchers: {count: 9}\n")
    spec = load_spec(spec_file, {"limits.usd": "3.50", "researchers.model": "claude-haiku-5-5"})
    assert (spec.name, spec.limits.usd, spec.limits.hours) == ("night", Decimal("3.50"), 8)
    assert (spec.researchers.count, spec.researchers.model) == (9, "claude-haiku-5-5")


def test_a_flag_alone_keeps_the_quick_campaigns_other_limits() -> None:
    quick = load_spec(None).limits
    changed = load_spec(None, {"limits.usd": 1}).limits
    assert (changed.usd, changed.hours, changed.submissions) == (Decimal(1), quick.hours, quick.submissions)


def test_a_directions_file_is_looked_for_beside_the_spec(spec_file: Path) -> None:
    spec_file.write_text("directions: {file: mine.yaml}\n")
    assert load_spec(spec_file).directions.file == str(spec_file.parent / "mine.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("limts: {usd: 3}", "no field limts; did you mean limits?"),
        ("limits: {usdd: 3}", "no field limits.usdd; did you mean usd?"),
        ("limits: {researcher: {token: 3}}", "no field limits.researcher.token; did you mean tokens?"),
        ("limits: {usd: -3}", "limits.usd: input should be greater than or equal to 0 (got -3)"),
        ("researchers: {overrides: {1: {modle: x}}}", "did you mean model?"),
        ("researchers: {overrides: {7: {model: x}}}", "overrides names researcher 7, but there are 4"),
        ("directions: {deal: named}", "deal: named needs names"),
        ("- a", "holds a list, not fields"),
        ("a: [", "is not YAML"),
        ("limits: 3", "limits: "),
    ],
)
def test_what_does_not_hold_is_named(spec_file: Path, text: str, says: str) -> None:
    spec_file.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(spec_file)
    assert says in caught.value.message
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no spec file"):
        load_spec(tmp_path / "absent.yaml")


@pytest.mark.parametrize("login", ["ana:never-to-be-seen@", "never-to-be-seen@"])
def test_an_address_with_a_login_is_refused_and_not_quoted(spec_file: Path, login: str) -> None:
    spec_file.write_text(f"researchers: {{base_url: 'https://{login}models.example/v1'}}\n")
    with pytest.raises(SpecError, match="base_url holds a user name or a password") as caught:
        load_spec(spec_file)
    assert "never" not in str(caught.value)
    spec_file.write_text("researchers: {base_url: 'https://models.example/v1/@team'}\n")
    assert load_spec(spec_file).researchers.base_url == "https://models.example/v1/@team"
