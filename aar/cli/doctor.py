"""``aar doctor``: check this machine, and name what to install."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import anyio.to_thread
import typer
from rich.text import Text

from aar.cli.options import DatabaseOption, JsonFlag
from aar.cli.output.printing import make_console, print_json, to_json_value
from aar.errors import AarError, UsageError
from aar.llm.price_book import CLAUDE_MODEL, PriceBook
from aar.problems.plugin_calls import call_plugin
from aar.problems.registry import find_problem, installed_problems
from aar.readmodels.formatting import OFFLINE_LABEL
from aar.sandbox.inventory import list_availability
from aar.settings import Settings, load_settings
from aar.store import open_database
from aar.store.engine import display_url, parse_url
from aar.text import clean_text

_FREE_GIB = 1.0


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
    results = asyncio.run(run_doctor_checks(load_settings(database), only or []))
    fit = all(finding.ok or not finding.needed for finding in results)
    if json:
        print_json({"ok": fit, "checks": to_json_value(results)})
    elif not quiet:
        _print(results, fit)
    raise typer.Exit(0 if fit else 3)


def _print(results: list[CheckResult], fit: bool) -> None:
    out = make_console()
    width = max(len(result.name) for result in results)
    for result in results:
        sign, style = ("✓", "green") if result.ok else ("✗", "red") if result.needed else ("–", "yellow")
        out.print(Text.assemble((sign, style), f" {result.name:<{width}}  {clean_text(result.detail)}"))
        if result.remedy and not result.ok:
            out.print(f"  {'':<{width}}  → {clean_text(result.remedy)}")
        for note in result.notes:
            out.print(f"  {'':<{width}}  note: {clean_text(note)}", style="dim")
    out.print("\nReady: aar start" if fit else "\nA campaign cannot run yet; see the lines marked ✗.", style="bold")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check.

    Args:
        name: of the check; several findings may share it.
        ok: whether it works.
        needed: whether no campaign can run without it.
        detail: what is there, or what is missing.
        remedy: what to do where it is not ok.
        notes: what holds less well here than elsewhere.
    """

    name: str
    ok: bool
    needed: bool
    detail: str
    remedy: str = ""
    notes: Sequence[str] = ()


_Check = Callable[[Settings], Awaitable[list[CheckResult]]]


async def run_doctor_checks(settings: Settings, only: Sequence[str]) -> list[CheckResult]:
    """Run the named checks, or all, one after the other.

    Raises:
        UsageError: a check does not exist.
    """
    for name in only:
        if name not in CHECKS:
            raise UsageError(f"check does not exist: got {name}", f"Use one of: {', '.join(CHECKS)}")
    results: list[CheckResult] = []
    for name, check in CHECKS.items():
        if name in only or not only:
            results += await check(settings)
    return results


async def _machine(_settings: Settings) -> list[CheckResult]:
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {_memory()}"
    linux = sys.platform == "linux"
    python = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return [
        CheckResult("machine", linux, False, system, "Only Docker sandboxes can work outside Linux"),
        CheckResult("python", sys.version_info >= (3, 11), True, python, "Install Python 3.11 or newer"),
    ]


async def _home(settings: Settings) -> list[CheckResult]:
    home = settings.home
    existing = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1024**3
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    if not writable:
        return [CheckResult("home", False, True, f"{home} is not writable", "Set AAR_HOME to a folder of your own")]
    detail = f"{home}, {free:.1f} GiB free"
    return [
        CheckResult("home", free >= _FREE_GIB, True, detail, f"A campaign needs {_FREE_GIB:g} GiB: free some space")
    ]


async def _database(settings: Settings) -> list[CheckResult]:
    return [await anyio.to_thread.run_sync(_open_and_close, settings.database_url)]


def _open_and_close(url: str) -> CheckResult:
    try:
        parsed = parse_url(url)
        address = display_url(parsed)
        if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").expanduser().exists():
            return CheckResult("database", True, True, f"{address} (made at the first campaign)")
        open_database(url).close()
    except AarError as error:
        return CheckResult("database", False, True, error.message, error.remedy)
    return CheckResult("database", True, True, address)


async def _sandbox(_settings: Settings) -> list[CheckResult]:
    results = [
        CheckResult(name, state.ok, False, state.detail, state.remedy, tuple(state.notes))
        for name, state in (await list_availability()).items()
    ]
    usable = [each.name for each in results if each.ok]
    detail = f"campaigns here use {usable[0]}" if usable else "no sandbox works here"
    remedy = "Install bubblewrap (Debian: apt-get install bubblewrap), or Docker and then run: aar sandbox build"
    return [*results, CheckResult("sandbox", bool(usable), True, detail, remedy)]


async def _problem(_settings: Settings) -> list[CheckResult]:
    results: list[CheckResult] = []
    for each in installed_problems():
        try:
            problem = find_problem(each.name)
            await call_plugin(problem, "check_data")
        except AarError as error:
            results.append(CheckResult("problem", False, each.name == "weak_to_strong", error.message, error.remedy))
        else:
            results.append(CheckResult("problem", True, True, f"{problem.name}: {problem.title}; its data is complete"))
    return results


async def _model(settings: Settings) -> list[CheckResult]:
    key = settings.claude_key
    has_key = key is not None and bool(key.get_secret_value().strip())
    price = await anyio.to_thread.run_sync(PriceBook().price, CLAUDE_MODEL)
    detail = (
        f"ANTHROPIC_API_KEY is set: researchers are {CLAUDE_MODEL} (${price.input} in, ${price.output} out per million)"
        if has_key
        else f"no ANTHROPIC_API_KEY: researchers are the {OFFLINE_LABEL}"
    )
    return [CheckResult("model", has_key, False, detail, "Set ANTHROPIC_API_KEY to use Claude")]


async def _extras(_settings: Settings) -> list[CheckResult]:
    extras = (
        ("postgres", "psycopg", "PostgreSQL instead of SQLite, for a team"),
        ("minilm", "torch", "fine-tuning the encoder in methods"),
    )
    return [
        CheckResult(
            f"extra {name}",
            find_spec(module) is not None,
            False,
            what if find_spec(module) is not None else f"not installed: {what}",
            f'pip install "aar[{name}]"',
        )
        for name, module, what in extras
    ]


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return "memory unknown"
    return f"{size / 1024**3:.0f} GiB of memory"


CHECKS: dict[str, _Check] = {
    "machine": _machine,
    "home": _home,
    "database": _database,
    "sandbox": _sandbox,
    "problem": _problem,
    "model": _model,
    "extras": _extras,
}
"""By name, in the order they are shown."""
