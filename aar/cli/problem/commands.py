"""``aar problem``: the table of its commands; the installed problems and their data."""

from __future__ import annotations

from typing import Annotated

import typer

from aar.cli.options import JsonFlag
from aar.cli.output.printing import make_console, make_table, print_json, print_table, to_json_value
from aar.errors import DataMissing
from aar.problems.protocol import Problem
from aar.problems.registry import find_problem, installed_problems
from aar.text import clean_text

DEFAULT_PROBLEM = "weak_to_strong"


def _complete_problem(incomplete: str) -> list[str]:
    return [each.name for each in installed_problems() if each.name.startswith(incomplete)]


ProblemName = Annotated[
    str,
    typer.Argument(
        metavar="PROBLEM", help="A name from `aar problem list`, or a folder.", autocompletion=_complete_problem
    ),
]


def list_(json: JsonFlag = False) -> None:
    """List the installed problems."""
    problems = installed_problems()
    if json:
        print_json(problems)
        return
    table = make_table("name", "from")
    for each in problems:
        table.add_row(each.name, each.distribution)
    print_table(table, empty="No problem is installed.")


def show(problem: ProblemName = DEFAULT_PROBLEM, json: JsonFlag = False) -> None:
    """Show a problem: metric, domains, baselines, limits and brief."""
    plugin = find_problem(problem)
    if json:
        print_json(_problem_json(plugin))
        return
    metric, out = plugin.metric, make_console()
    human = "" if metric.human_baseline is None else f"; people reached {metric.human_baseline}"
    source = f" ({metric.human_baseline_source})" if metric.human_baseline_source else ""
    better = "higher" if metric.higher_is_better else "lower"
    limits = plugin.run_limits
    out.print(f"{plugin.name}: {plugin.title}", style="bold")
    out.print(f"metric     {metric.name}, {better} is better, perfection is {metric.ceiling:g}{human}{source}")
    out.print(f"climbed    {', '.join(plugin.climbed_domains)}")
    out.print(f"transfer   {', '.join(plugin.transfer_domains) or '–'}")
    out.print(f"seeds      {plugin.default_seeds} a measurement")
    out.print(f"one run    {limits.seconds:g} s, {limits.memory_bytes / 1024**3:g} GiB, {limits.cpus:g} cores")
    for baseline in plugin.baselines():
        out.print(f"baseline   {baseline.key}: {baseline.summary}")
    out.print(f"\n{clean_text(plugin.brief())}", soft_wrap=True)


def fetch(problem: ProblemName = DEFAULT_PROBLEM, json: JsonFlag = False) -> None:
    """Check a problem's data, and build it if needed."""
    plugin = find_problem(problem)
    builder = getattr(plugin, "fetch", None)
    built = False
    try:
        plugin.check_data()
    except DataMissing:
        if builder is None:
            raise
        builder()
        plugin.check_data()
        built = True
    if json:
        print_json({"problem": plugin.name, "data": "built" if built else "complete"})
    else:
        print(f"the data of {plugin.name} {'was built and ' if built else ''}is complete")


def _problem_json(problem: Problem) -> dict[str, object]:
    return {
        "name": problem.name,
        "title": problem.title,
        "metric": to_json_value(problem.metric),
        "climbed_domains": list(problem.climbed_domains),
        "transfer_domains": list(problem.transfer_domains),
        "default_seeds": problem.default_seeds,
        "run_limits": to_json_value(problem.run_limits),
        "baselines": [{"key": each.key, "summary": each.summary} for each in problem.baselines()],
        "brief": problem.brief(),
    }
