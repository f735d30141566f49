"""``aar problem``: the table of its commands."""

from __future__ import annotations

import typer

from aar.cli.lazy_group import LazyGroup, panel_entries


class ProblemGroup(LazyGroup):
    """The commands of ``aar problem``, in the order of the help."""

    package = "aar.cli.problem"
    entries = panel_entries(
        "Commands",
        ("list", "catalog:list_", "List the installed problems."),
        ("show", "catalog:show", "Show a problem: metric, domains, baselines, limits and brief."),
        ("validate", "validation:validate", "Check that a problem is sound."),
        ("baselines", "baselines:baselines", "Measure the baselines in the clean room."),
        ("attack", "attack:attack", "Run all known attacks on a problem's scores."),
        ("fetch", "catalog:fetch", "Check a problem's data, and build it if needed."),
    )


app = typer.Typer(
    cls=ProblemGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, show, validate, measure and attack problems.",
)
