"""The argument that names a problem, with shell completion."""

from __future__ import annotations

from typing import Annotated

import typer

from aar.problems.registry import installed_problems

DEFAULT_PROBLEM = "weak_to_strong"


def _complete_problem(incomplete: str) -> list[str]:
    return [each.name for each in installed_problems() if each.name.startswith(incomplete)]


ProblemName = Annotated[
    str,
    typer.Argument(
        metavar="PROBLEM", help="A name from `aar problem list`, or a folder.", autocompletion=_complete_problem
    ),
]
