"""Command groups: errors as one line and a remedy, and commands that are imported when they run.

Help is plain text: with rich, every ``aar --help`` would first load a Markdown parser and a syntax highlighter, for
half a second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from aar.cli.output import streams
from aar.errors import AarError, UsageError, find_disk_full
from aar.redaction import redact
from aar.text import clean_text


class CommandGroup(TyperGroup):
    """A command group whose commands may raise ``AarError``."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and print its error, if any, on standard error.

        Prints ``error: ...`` and ``→ remedy``, and exits with the error's exit code.
        """
        try:
            return super().invoke(ctx)
        except AarError as error:
            print_error(find_disk_full(error) or error)
            raise typer.Exit(error.exit_code) from error
        except UnicodeError as error:
            print_error(
                UsageError(
                    f"text is not UTF-8: {error.reason if hasattr(error, 'reason') else error}", "Write it in UTF-8"
                )
            )
            raise typer.Exit(UsageError.exit_code) from error
        except OverflowError as error:
            print_error(UsageError(f"number is too large: {error}", "Use a smaller one"))
            raise typer.Exit(UsageError.exit_code) from error
        except OSError as error:
            if isinstance(error, BrokenPipeError) and streams.is_reader_gone():
                streams.discard_output()
                raise typer.Exit(streams.READER_GONE) from error
            full = find_disk_full(error)
            if full is None:
                raise
            print_error(full)
            raise typer.Exit(full.exit_code) from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands into help, under the headings they are registered with."""
        panels: dict[str, list[tuple[str, str]]] = {}
        names = self.list_commands(ctx)
        width = formatter.width - 6 - max(map(len, names), default=0)
        for name in names:
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                panel = getattr(command, "rich_help_panel", None)
                heading = panel if isinstance(panel, str) else "Commands"
                panels.setdefault(heading, []).append((name, command.get_short_help_str(width)))
        for heading, rows in panels.items():
            with formatter.section(heading):
                formatter.write_dl(rows, col_max=12)


def print_error(error: AarError) -> None:
    """Print an error and its remedy on standard error."""
    sys.stdout.flush()
    red, plain = ("\033[1;31m", "\033[0m") if _coloured() else ("", "")
    print(f"{red}error:{plain} {clean_text(redact(error.message))}", file=sys.stderr)
    if error.remedy:
        print(f"  → {clean_text(redact(error.remedy))}", file=sys.stderr)


def _coloured() -> bool:
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command as the group's help lists it.

    Args:
        name: the word that a person types.
        target: ``module:attribute`` in ``aar.cli``, of a command's function or a group's ``typer.Typer``; or a group's
            entries.
        panel: the heading in help.
        help: the first sentence of the command's own help; a test compares the two.
    """

    name: str
    target: str | Sequence[CommandEntry]
    panel: str
    help: str


def panel_entries(panel: str, *rows: tuple[str, str | Sequence[CommandEntry], str]) -> tuple[CommandEntry, ...]:
    """Return the entries of one panel, from rows of name, target and help."""
    return tuple(CommandEntry(name, target, panel, text) for name, target, text in rows)


class LazyGroup(CommandGroup):
    """A command group with a table of entries instead of imported commands.

    Help, shell completion of names and the suggestions for a mistyped name read the entries only.
    """

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
        if not isinstance(entry.target, str):
            group = _lazy_class(entry.target)
            return group(name=name, help=entry.help, no_args_is_help=True, rich_markup_mode=None)
        from aar.cli.output.log_setup import log_to_stderr  # structlog; a test holds ``--help`` free of it

        log_to_stderr(os.environ.get("AAR_LOG_LEVEL", ""))
        module, _, attribute = entry.target.partition(":")
        parent = typer.Typer(rich_markup_mode=None)
        target = getattr(import_module(f"aar.cli.{module}"), attribute)
        if isinstance(target, typer.Typer):
            parent.add_typer(target, name=name)
        else:
            parent.command(name)(target)
        return get_group(parent).commands[name]


def make_lazy_group(entries: Sequence[CommandEntry], **settings: Any) -> typer.Typer:
    """Create a command group from its table; ``settings`` are those of ``typer.Typer``."""
    return typer.Typer(cls=_lazy_class(entries), no_args_is_help=True, rich_markup_mode=None, **settings)


def _lazy_class(entries: Sequence[CommandEntry]) -> type[LazyGroup]:
    return type("LazyGroup", (LazyGroup,), {"entries": entries})
