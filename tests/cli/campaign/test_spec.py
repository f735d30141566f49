import json
from pathlib import Path

import pytest
import yaml

from aar.campaign.spec import CampaignSpec, load_spec

from ..conftest import Terminal


def test_the_example_is_the_quick_campaign(empty: Terminal, tmp_path: Path) -> None:
    spec = tmp_path / "campaign.yaml"
    spec.write_text(empty.ok("spec", "example"))
    assert load_spec(spec) == CampaignSpec()


def test_the_example_names_every_field(empty: Terminal) -> None:
    text = empty.ok("spec", "example")
    bare = "\n".join(
        line.replace("# ", "  ", 1) if line.lstrip().startswith("# ") else line for line in text.splitlines()
    )
    for name, field in CampaignSpec.model_fields.items():
        assert f"{name}:" in bare
        for inner in getattr(field.annotation, "model_fields", {}):
            assert f"{inner}:" in bare, f"{name}.{inner}"


def test_the_schema_is_one(empty: Terminal) -> None:
    schema = json.loads(empty.ok("spec", "schema"))
    assert schema["properties"].keys() == CampaignSpec.model_fields.keys()
    assert schema["additionalProperties"] is False


def test_validate_shows_who_starts_where(empty: Terminal, tmp_path: Path) -> None:
    spec = tmp_path / "campaign.yaml"
    spec.write_text(yaml.safe_dump({"researchers": {"count": 2}, "limits": {"usd": 3, "hours": 1}}))
    said = empty.ok("spec", "validate", str(spec))
    assert "2 researchers on weak_to_strong" in said
    assert "r2  offline-search" in said
    assert "$3, 1.0 h" in said
    assert empty.json("spec", "validate", str(spec))["spec"]["researchers"]["count"] == 2


@pytest.mark.parametrize("field", ["limits", "researchers", "serve"])
def test_a_wrong_field_is_told(empty: Terminal, tmp_path: Path, field: str) -> None:
    spec = tmp_path / "campaign.yaml"
    spec.write_text(f"{field}: {{nonsense: 1}}")
    result = empty.run("spec", "validate", str(spec))
    assert result.exit_code == 2
    assert f"no field {field}.nonsense" in result.stderr
