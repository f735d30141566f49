"""Printing: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPE_WIDTH = 160


def make_console(*, stderr: bool = False) -> Console:
    """A console that takes text as it stands: no markup, no guessing at numbers, no emoji codes.

    In a pipe, where there is no screen to fit, lines are long unless COLUMNS says otherwise.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


def print_json(value: Any) -> None:
    """Print a value as indented ASCII JSON: views by their fields, decimals and times as strings."""
    print(json.dumps(to_json_value(value), indent=2))


def to_json_value(value: Any) -> Any:
    """A value as JSON knows it."""
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.isoformat()
        case Path():
            return str(value)
        case Mapping():
            return {str(key): to_json_value(each) for key, each in value.items()}
        case _ if dataclasses.is_dataclass(value):
            return {field.name: to_json_value(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case Iterable():
            return [to_json_value(each) for each in value]
        case _:
            raise TypeError(f"no JSON for {type(value).__name__}")


def make_table(*columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table without lines between its rows, its cells one below another on a narrow screen.

    Columns named in ``right`` are set to the right."""
    from rich import box

    from aar.cli.output.responsive_table import ResponsiveTable

    made = ResponsiveTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def print_table(made: Table, *, empty: str) -> None:
    """Print a table, or a sentence where it has no row."""
    make_console().print(made if made.row_count else empty)
