"""A lazy command group: a command is imported to run or show its help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand
from typer.main import get_group

from aar.cli.error_handling import CommandGroup


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command as the group's help lists it.

    Args:
        name: the word that a person types.
        target: ``module:attribute`` of the function, or of the ``typer.Typer`` of a subgroup.
        panel: the heading in help.
        help: the first sentence of the command's own help; a test compares the two.
    """

    name: str
    target: str
    panel: str
    help: str


def panel_entries(panel: str, *rows: tuple[str, str, str]) -> tuple[CommandEntry, ...]:
    """Return the entries of one panel, from rows of name, target and help."""
    return tuple(CommandEntry(name, target, panel, text) for name, target, text in rows)


class LazyGroup(CommandGroup):
    """A command group with a table of entries instead of imported commands.

    Help, shell completion of names and the suggestions for a mistyped name read the entries only.
    """

    package: ClassVar[str]
    """The package that the entries' modules are in."""
    entries: ClassVar[Sequence[CommandEntry]] = ()

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for entry in self.entries:
            self.add_command(
                TyperCommand(entry.name, help=entry.help, rich_help_panel=entry.panel, rich_markup_mode=None)
            )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and self._load(str(command.name)), rest

    def _load(self, name: str) -> Any:
        entry = next(entry for entry in self.entries if entry.name == name)
        module, _, attribute = entry.target.partition(":")
        found = getattr(import_module(f"{self.package}.{module}"), attribute)
        parent = typer.Typer(rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            parent.add_typer(found, name=name)
        else:
            parent.command(name)(found)
        return get_group(parent).commands[name]
