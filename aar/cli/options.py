"""Options and arguments that many commands share."""

from __future__ import annotations

from typing import Annotated

import typer

MAX_INTEGER = 2**63 - 1
"""Of numbers that a database compares."""
MOST_ROWS = 1_000_000

DatabaseOption = Annotated[
    str | None,
    typer.Option("--database", metavar="URL", help="Database; default AAR_DATABASE, or SQLite under AAR_HOME."),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
