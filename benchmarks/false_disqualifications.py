"""Measures how often audits accuse honest methods.

Run: python benchmarks/false_disqualifications.py [--problem NAME] [--repeats N]

Each repetition measures and confirms every shipped baseline on freshly drawn splits, with the runs that the audits
need, in this process, and lets every audit judge it. Methods drawn from the problem's offline repertoire, and honest
ways to open files without the lab's library, are read too. Exits with 1 if any was disqualified, or one of those that
are only read was marked.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from aar.problems.protocol import Problem
from aar.problems.registry import find_problem
from aar.problems.search_space import SearchableProblem
from aar.scoring.audits.audit_runner import available_audits
from aar.scoring.audits.protocol import AuditVerdict
from aar.scoring.audits.static_audit import audit_result, check_code
from aar.testing.honest_methods import HONEST_FORMS, AuditAnswer, honest_form, judge_baselines

NOISE = (0.2, 0.4)


def repeat(name: str, seeds: int, audit_seeds: int, first: int) -> list[AuditAnswer]:
    problem = find_problem(name)
    audits = available_audits(noise_levels=NOISE)
    return judge_baselines(problem, problem.baselines(), audits, seeds=seeds, audit_seeds=audit_seeds, first=first)


def read_drawn(problem: Problem, count: int) -> Counter[AuditVerdict]:
    """Print the static audit's findings on methods drawn from the repertoire."""
    found: Counter[AuditVerdict] = Counter()
    if not isinstance(problem, SearchableProblem):
        return found
    repertoire, rng = problem.repertoire(), Random(5)
    genomes = {str(genome): genome for genome in (repertoire.sample(rng, "") for _ in range(count))}
    with tempfile.TemporaryDirectory() as scratch:
        for index, genome in enumerate(genomes.values()):
            method = Path(scratch, str(index))
            method.mkdir()
            for name, text in repertoire.render(genome, parent=None).items():
                (method / name).write_text(text)
            found[audit_result(check_code(method)).verdict] += 1
    return found


def read_forms() -> Counter[AuditVerdict]:
    """Print the static audit's findings on honest ways to open files."""
    found: Counter[AuditVerdict] = Counter()
    for form in HONEST_FORMS:
        with tempfile.TemporaryDirectory() as method:
            Path(method, "run.py").write_text(honest_form(form))
            found[audit_result(check_code(Path(method))).verdict] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problem", default="weak_to_strong")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3, help="of measurement and confirmation")
    parser.add_argument("--audit-seeds", type=int, default=2)
    parser.add_argument("--drawn", type=int, default=500, help="methods from the repertoire to read")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    problem, console = find_problem(options.problem), Console()
    once = partial(repeat, options.problem, options.seeds, options.audit_seeds)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        answers = [answer for found in pool.map(once, range(1, options.repeats + 1)) for answer in found]
    counts = Counter((answer.baseline, answer.audit, answer.verdict) for answer in answers)
    table = Table("baseline", "audit", *map(str, AuditVerdict))
    for baseline, audit in dict.fromkeys((answer.baseline, answer.audit) for answer in answers):
        table.add_row(baseline, audit, *(str(counts[baseline, audit, verdict] or "") for verdict in AuditVerdict))
    drawn, forms = read_drawn(problem, options.drawn), read_forms()
    for found, what in ((drawn, "drawn methods"), (forms, "ways to open files")):
        if found:
            table.add_row(f"{found.total()} {what}", "static", *(str(found[verdict] or "") for verdict in AuditVerdict))
    console.print(table)
    for flag in dict.fromkeys((a.baseline, a.audit, a.rule) for a in answers if a.verdict is AuditVerdict.FLAGGED):
        console.print("flagged:", *flag)
    wrong = sum(count for (_, _, verdict), count in counts.items() if verdict is AuditVerdict.DISQUALIFIED)
    console.print(f"false disqualifications: {wrong} in {len(answers)} answers, {options.repeats} repeats")
    marked = (drawn + forms).total() - (drawn + forms)[AuditVerdict.PASSED]
    console.print(f"marks of the static reading: {marked} on {(drawn + forms).total()} honest programs")
    sys.exit(1 if wrong or marked else 0)


if __name__ == "__main__":
    main()
