"""Scores of a submission per split, for people: they show its spread.

Researchers never see them: they could climb on single splits. Scores are rounded, and come without the seeds.
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
from aar.scoring.submissions import SHOWN_DECIMALS


@dataclass(frozen=True, slots=True)
class SeedScore:
    """The score of one run.

    Its phase's key, its domain, and its number within both, from 1.
    """

    phase: str
    domain: str
    number: int
    score: float


def read_seed_scores(session: Session, problem: str, submission_id: int, phases: Collection[str]) -> list[SeedScore]:
    """Lists the score of each run by phase and domain.

    Empty if the problem is not installed here.

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
