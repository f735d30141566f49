"""Printing: consoles and tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 160
_WIDE = 10_000


def make_console(*, stderr: bool = False) -> Console:
    """Create a console that prints text unchanged: no markup, highlighting or emoji codes.

    In a pipe, where there is no screen to fit, lines are long unless COLUMNS says otherwise.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


def print_json(value: Any) -> None:
    """Print a value as indented ASCII JSON; decimals and times become strings.

    Views are printed by their fields.
    """
    print(json.dumps(to_json_value(value), indent=2))


def to_json_value(value: Any) -> Any:
    """Convert a value to types that JSON has."""
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
    """Create an empty table without lines between its rows.

    On a narrow screen the cells of a row are printed one below another.

    Columns named in ``right`` are set to the right."""

    table = ResponsiveTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def print_table(table: Table, *, empty: str) -> None:
    """Print a table, or a sentence if it has no rows."""
    make_console().print(table if table.row_count else empty)


class ResponsiveTable(Table):
    """A table that prints one cell a line where the screen is too narrow."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table."""
        if self.__rich_measure__(console, options.update(width=_WIDE)).minimum <= options.max_width:
            yield from super().__rich_console__(console, options)
        else:
            yield from self._records()

    def _records(self) -> Iterator[Text]:
        for cells in zip(*(column.cells for column in self.columns), strict=True):
            for column, cell in zip(self.columns, cells, strict=True):
                text = cell if isinstance(cell, Text) else Text(str(cell))
                if text.plain.strip():
                    name = f"{column.header} " if column.header else ""
                    yield Text.assemble((name, "dim"), text, overflow="fold")
            yield Text()
