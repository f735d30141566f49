"""``aar spec``: write and check a campaign's spec."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from aar.campaign.directions import assign_directions, load_directions
from aar.campaign.preflight import assign_models
from aar.campaign.spec import CampaignSpec, load_spec
from aar.cli.options import JsonFlag
from aar.cli.output.printing import print_json, to_json_value
from aar.problems.registry import find_problem
from aar.readmodels.formatting import format_limits
from aar.settings import get_settings


def validate(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="YAML file.")],
    json: JsonFlag = False,
) -> None:
    """Check a spec without starting anything.

    Checks what `aar start` would: fields, problem, directions and the prices of the models.
    """
    loaded = load_spec(spec)
    problem = find_problem(loaded.problem)
    directions = loaded.directions.file
    dealt = assign_directions(loaded, load_directions(Path(directions) if directions else problem.directions()))
    team, prices = assign_models(loaded, get_settings()), loaded.price_book()
    for model in dict.fromkeys(team.models):
        prices.price(model)
    if json:
        print_json({"valid": True, "spec": loaded.model_dump(mode="json")})
        return
    print(f"{spec} is valid: {loaded.researchers.count} researchers on {problem.name}")
    for model in dict.fromkeys(team.models):
        if other := prices.priced_as(model):
            print(f"  {model} is priced as {other}")
    for index, (direction, model) in enumerate(zip(dealt, team.models, strict=True), start=1):
        print(f"  r{index}  {model}  {direction.key}")
    print(f"  limits: {format_limits(to_json_value(loaded.limits.model_dump(exclude_none=True)))}")


def schema() -> None:
    """Print the JSON schema of a spec, for editors."""
    print_json(CampaignSpec.model_json_schema())


def example() -> None:
    """Print a commented spec with every field: aar spec example > campaign.yaml."""
    print((files("aar.cli") / "example.yaml").read_text(encoding="utf-8"), end="")
