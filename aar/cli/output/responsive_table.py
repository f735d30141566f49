"""A table that stays readable on a narrow screen."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_WIDE = 10_000


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
