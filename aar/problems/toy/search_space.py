"""The search space of curve-fitting methods: the smallest one, to copy."""

from __future__ import annotations

import shlex

from aar.problems.search_space import DirectionBias, Gene, GeneSearchSpace, Genome

_RUN = '''"""{title}

Composed by aar's offline search baseline, not by an LLM.
"""

from statistics import {middle}

import toylab

GENOME = {genome!r}

points = toylab.read()


def guess(x: float) -> float:
    """The curve at ``x``, from the {neighbours} points nearest to it."""
    order = sorted(range(len(points.x)), key=lambda index: abs(points.x[index] - x))
    near = order[:{neighbours}]
    reach = abs(points.x[near[-1]] - x) + 1e-9
    shares = [{share} for index in near]
    heights = [points.y[index] for index in near]
{body}


toylab.write(points, [guess(x) for x in points.test_x])
'''
_TREND = """    steps = [points.x[index] - x for index in near]
    total = sum(shares)
    step = sum(s * d for s, d in zip(shares, steps)) / total
    height = sum(s * y for s, y in zip(shares, heights)) / total
    spread = sum(s * (d - step) ** 2 for s, d in zip(shares, steps)) + 1e-9
    slope = sum(s * (d - step) * (y - height) for s, d, y in zip(shares, steps, heights)) / spread
    return height - slope * step"""
_MEAN = "    return sum(s * y for s, y in zip(shares, heights)) / sum(shares)"
_MEDIAN = "    return median(heights)"


class ToySearchSpace(GeneSearchSpace):
    """Neighbourhood averages and local lines."""

    genes = (
        Gene("neighbours", {1: 1, 3: 1, 5: 2, 10: 2, 20: 2, 60: 1}, ordered=True),
        Gene("nearer_counts_more", {False: 1, True: 1}),
        Gene("trend", {False: 2, True: 1}),
        Gene("middle", {"mean": 3, "median": 1}, needs="trend", needs_not=(True,)),
    )
    """``trend`` fits a straight line to the neighbours instead of taking their middle."""
    biases = (
        DirectionBias(("neighbour", "near"), {"neighbours": {60: 0.1}, "nearer_counts_more": {True: 4}}),
        DirectionBias(("simple", "shape"), {"trend": {True: 6}, "neighbours": {20: 3, 60: 3}}),
        DirectionBias(("odd", "further off"), {"middle": {"median": 8}, "trend": {True: 0.2}}),
    )

    def simplify(self, genome: Genome) -> Genome:
        """Return the genome without the trend."""
        return {**genome, "trend": False}

    def render(self, genome: Genome, *, parent: str | None) -> dict[str, str]:
        """Return ``run.py`` and ``method.yaml``."""
        title = self.describe(genome)
        body = _TREND if genome["trend"] else _MEDIAN if genome["middle"] == "median" else _MEAN
        run = _RUN.format(
            title=title,
            genome=dict(genome),
            neighbours=genome["neighbours"],
            middle="median" if body is _MEDIAN else "fmean",
            share="1 - abs(points.x[index] - x) / reach + 1e-9" if genome["nearer_counts_more"] else "1.0",
            body=body,
        )
        family = "confidence-weighting" if genome["nearer_counts_more"] else "ensemble"
        lines = [f"title: {title}", f"claim: {title}, found by a search.", f"families: [{family}]"]
        if parent is not None:
            lines.append(f"parent: {parent}")
        return {"run.py": run, "method.yaml": "\n".join([*lines, ""])}

    def describe(self, genome: Genome) -> str:
        """Return the method in one sentence."""
        what = "A straight line through" if genome["trend"] else f"The {genome['middle']} of"
        how = ", nearer ones counting more" if genome["nearer_counts_more"] else ""
        return f"{what} the {genome['neighbours']} nearest points{how}"

    def trial(self, directory: str, research_data: str) -> str:
        """Return a command that runs the method on every research domain.

        It shows the first guesses.
        """
        data = shlex.quote(research_data)
        return (
            f"cd {shlex.quote(directory)} || exit 1\n"
            f"for domain in $(ls {data}); do\n"
            f"  timeout -k 1 10 python3 run.py --data {data}/$domain --seed 0 --out trial.txt "
            '|| { echo "trial: failed on $domain"; exit 1; }\n'
            '  echo "$domain: $(head -n 5 trial.txt | cut -c 1-6 | paste -sd " ")"\n'
            'done\nrm -f trial.txt; echo "trial: ok"'
        )
