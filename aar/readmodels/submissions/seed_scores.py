"""A submission's score on each split that it was run on, for people: it shows how steady a mean is.

Researchers never see it: single splits would be something to climb on. Rounded, and without the seeds themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.orm import Session

from aar.errors import AarError
from aar.problems.registry import find_problem
from aar.scoring.phases import phase_of
from aar.scoring.results.score_writer import read_pooled_scores
from aar.scoring.submissions.submission_views import SHOWN_DECIMALS


@dataclass(frozen=True, slots=True)
class SeedScore:
    """The score of one run: its phase's key, its domain, its number within both, from 1."""

    phase: str
    domain: str
    number: int
    score: float


def read_seed_scores(session: Session, problem: str, submission_id: int, phases: Collection[str]) -> list[SeedScore]:
    """The score of each run alone, by phase and domain; none where the problem is not installed here.

    A run that has no score of its own (its split left no gap to recover) is left out.
    """
    try:
        plugin = find_problem(problem)
    except AarError:
        return []
    found: list[SeedScore] = []
    for key in phases:
        counted: Counter[str] = Counter()
        pooled = read_pooled_scores(session, submission_id, phase_of(key))
        for task, scored in sorted(pooled.scores, key=lambda one: one[0].domain):
            with suppress(AarError, KeyError, ValueError, ZeroDivisionError):
                mean = plugin.pool([(task, scored)]).mean
                counted[task.domain] += 1
                score = round(mean, SHOWN_DECIMALS) + 0.0
                found.append(SeedScore(key, task.domain, counted[task.domain], score))
    return found
