"""``aar problem``: what can be worked on, and what its baselines reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aar.cli.error_handling import CommandGroup
from aar.cli.options import JsonFlag

if TYPE_CHECKING:
    from aar.problems.protocol import Problem

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Problems: what can be worked on, and its baselines.",
)


def _names(incomplete: str) -> list[str]:
    from aar.problems.registry import installed_problems

    return [each.name for each in installed_problems() if each.name.startswith(incomplete)]


Name = Annotated[
    str,
    typer.Argument(metavar="PROBLEM", help="A name from `aar problem list`, or a folder.", autocompletion=_names),
]
DEFAULT = "weak_to_strong"


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the installed problems."""
    from aar.cli.output.printing import make_table, print_json, print_table
    from aar.problems.registry import installed_problems

    found = installed_problems()
    if json:
        print_json(found)
        return
    made = make_table("name", "from")
    for each in found:
        made.add_row(each.name, each.distribution)
    print_table(made, empty="No problem is installed.")


@app.command()
def show(problem: Name = DEFAULT, json: JsonFlag = False) -> None:
    """Show a problem: its metric, domains, baselines, limits, and the brief that researchers read."""
    from aar.cli.output.formatting import clean_text
    from aar.cli.output.printing import make_console, print_json
    from aar.problems.registry import find_problem

    found = find_problem(problem)
    if json:
        print_json(_json(found))
        return
    metric, out = found.metric, make_console()
    human = "" if metric.human_baseline is None else f"; people reached {metric.human_baseline}"
    source = f" ({metric.human_baseline_source})" if metric.human_baseline_source else ""
    better = "higher" if metric.higher_is_better else "lower"
    limits = found.run_limits
    out.print(f"{found.name}: {found.title}", style="bold")
    out.print(f"metric     {metric.name}, {better} is better, perfection is {metric.ceiling:g}{human}{source}")
    out.print(f"climbed    {', '.join(found.climbed_domains)}")
    out.print(f"transfer   {', '.join(found.transfer_domains) or '–'}")
    out.print(f"seeds      {found.default_seeds} a measurement")
    out.print(f"one run    {limits.seconds:g} s, {limits.memory_bytes / 1024**3:g} GiB, {limits.cpus:g} cores")
    for baseline in found.baselines():
        out.print(f"baseline   {baseline.key}: {baseline.summary}")
    out.print(f"\n{clean_text(found.brief())}", soft_wrap=True)


@app.command()
def validate(
    problem: Name = DEFAULT,
    sandbox: Annotated[str, typer.Option(help="auto, docker or bubblewrap.")] = "auto",
    json: JsonFlag = False,
) -> None:
    """Prepare every split twice, run and grade the baselines in the clean room, and look for hidden labels in public.

    Brief and directions are read too, and the problem's own checks come last.
    """
    from aar.cli.output.formatting import clean_line
    from aar.cli.output.printing import make_console, print_json
    from aar.cli.problem.validation import run_problem_checks
    from aar.errors import ProblemError

    def told(step: str) -> None:
        if not json:
            make_console(stderr=True).print(f"{step} …", style="dim")

    name, flaws = run_problem_checks(problem, sandbox=sandbox, on_step=told)
    if json:
        print_json({"problem": name, "sound": not flaws, "flaws": flaws})
    elif not flaws:
        print(f"{name} is sound")
    else:
        for flaw in flaws:
            print(f"- {clean_line(flaw)}")
    if flaws:
        raise ProblemError(f"problem {name} has {len(flaws)} flaw{'s' if len(flaws) > 1 else ''}")


@app.command()
def baselines(
    problem: Name = DEFAULT,
    keys: Annotated[
        list[str] | None, typer.Option("--baseline", "-b", metavar="KEY", help="Only this one; may be repeated.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=64, help="Fresh seeds; default the problem's.")] = None,
    transfer: Annotated[bool, typer.Option("--transfer", help="On the transfer domains.")] = False,
    sandbox: Annotated[str, typer.Option(help="auto, docker or bubblewrap.")] = "auto",
    json: JsonFlag = False,
) -> None:
    """Measure the baselines in the clean room, as submissions are, and print the table with standard errors."""
    from aar.cli.problem.baselines import print_results, run_baselines
    from aar.problems.registry import find_problem

    found = find_problem(problem)
    found.check_data()
    results = run_baselines(found, keys=keys, seeds=seeds, transfer=transfer, sandbox=sandbox, quiet=json)
    print_results(found, results, json=json)


@app.command()
def attack(
    problem: Name = DEFAULT,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Only this attack; may be repeated.")
    ] = None,
    submissions: Annotated[
        int, typer.Option(min=2, max=512, help="How many an attacker with patience hands in.")
    ] = 240,
    seeds: Annotated[int | None, typer.Option(min=2, max=64, help="Fresh seeds; default the problem's.")] = None,
    base: Annotated[str | None, typer.Option(metavar="KEY", help="Baseline to start from; default the last.")] = None,
    sandbox: Annotated[str, typer.Option(help="auto, docker or bubblewrap.")] = "auto",
    json: JsonFlag = False,
) -> None:
    """Attack the scores in every way known, and show what each attack gains on the sealed split."""
    from aar.cli.problem.attack import print_outcomes, run_attacks
    from aar.problems.registry import find_problem

    found = find_problem(problem)
    found.check_data()
    outcomes = run_attacks(
        found, only=only or (), submissions=submissions, seeds=seeds, base=base, sandbox=sandbox, quiet=json
    )
    print_outcomes(found, outcomes, json=json)
    if not all(outcome.held for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def fetch(problem: Name = DEFAULT, json: JsonFlag = False) -> None:
    """Check a problem's data; build what it builds on demand."""
    from aar.cli.output.printing import print_json
    from aar.errors import DataMissing
    from aar.problems.registry import find_problem

    found = find_problem(problem)
    builder = getattr(found, "fetch", None)
    built = False
    try:
        found.check_data()
    except DataMissing:
        if builder is None:
            raise
        builder()
        found.check_data()
        built = True
    if json:
        print_json({"problem": found.name, "data": "built" if built else "complete"})
    else:
        print(f"the data of {found.name} {'was built and ' if built else ''}is complete")


def _json(found: Problem) -> dict[str, object]:
    from aar.cli.output.printing import to_json_value

    return {
        "name": found.name,
        "title": found.title,
        "metric": to_json_value(found.metric),
        "climbed_domains": list(found.climbed_domains),
        "transfer_domains": list(found.transfer_domains),
        "default_seeds": found.default_seeds,
        "run_limits": to_json_value(found.run_limits),
        "baselines": [{"key": each.key, "summary": each.summary} for each in found.baselines()],
        "brief": found.brief(),
    }
