"""``aar doctor``: check this machine, and name what to install."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.text import Text

from aar.cli.context import load_settings
from aar.cli.doctor_checks import CheckResult, run_doctor_checks
from aar.cli.options import DatabaseOption, JsonFlag
from aar.cli.output.formatting import clean_text
from aar.cli.output.printing import make_console, print_json, to_json_value


def doctor(
    only: Annotated[
        list[str] | None,
        typer.Argument(metavar="CHECK", help="Only these: machine, home, database, sandbox, problem, model, extras."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code is the result.")] = False,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Check this machine, and list what to install.

    Exits with code 3 if something that every campaign needs is missing.
    """
    findings = asyncio.run(run_doctor_checks(load_settings(database), only or []))
    fit = all(finding.ok or not finding.needed for finding in findings)
    if json:
        print_json({"ok": fit, "checks": to_json_value(findings)})
    elif not quiet:
        _print(findings, fit)
    raise typer.Exit(0 if fit else 3)


def _print(findings: list[CheckResult], fit: bool) -> None:
    out = make_console()
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        sign, style = ("✓", "green") if finding.ok else ("✗", "red") if finding.needed else ("–", "yellow")
        out.print(Text.assemble((sign, style), f" {finding.name:<{width}}  {clean_text(finding.detail)}"))
        if finding.remedy and not finding.ok:
            out.print(f"  {'':<{width}}  → {clean_text(finding.remedy)}")
        for note in finding.notes:
            out.print(f"  {'':<{width}}  note: {clean_text(note)}", style="dim")
    out.print("\nReady: aar start" if fit else "\nA campaign cannot run yet; see the lines marked ✗.", style="bold")
