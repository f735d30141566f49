"""The coordinates audit: checks that a score survives a change of coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from statistics import fmean

from aar.errors import ProblemError
from aar.problems.plugin_calls import pool_scores
from aar.problems.protocol import Corruption, Problem, Task, TaskScore, supports_corruption
from aar.scoring.audits.protocol import AuditInput, AuditResult, AuditStage, AuditVerdict, PhaseScores
from aar.scoring.audits.teacher_permutation import failed_run_result
from aar.scoring.phases import CONFIRM, IN_NEW_COORDINATES, Phase

COORDINATE_KNOWLEDGE = "coordinates.knowledge"
COORDINATE_DEPENDENT = "coordinate-dependent"
LIMIT = 0.5
"""Score change from which a method is labelled. Of 48 honest methods of the default problem none has more than 0.2."""

ScoredTask = tuple[Task, TaskScore]
_CHANGE = Corruption(coordinates=True)


class CoordinatesAudit:
    """An audit that compares scores on the same items in two coordinate systems.

    Items, splits and seeds stay the same; only the coordinates change.

    Knowledge that a method infers from its data does not change. Knowledge that it carries, such as weights for certain
    columns or rows that it recognises, is valid only in the coordinates in which it was learnt. So a score that moves
    by more than its own error, up or down, is flagged (``coordinates.knowledge``). The default problem scores every
    split in coordinates of its own and compares with known ones; other problems may do the reverse.
    One that moves on single splits by half of what other test items would move it is labelled
    (``coordinate-dependent``); that is no fault, for a method may lean on axes, such as one that picks columns.
    """

    name = "coordinates"
    stage = AuditStage.CONFIRMED

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """Return the confirmation's runs in other coordinates; none if the problem offers none."""
        return (IN_NEW_COORDINATES,) if supports_corruption(problem, _CHANGE) else ()

    async def judge(self, dossier: AuditInput) -> AuditResult:
        """Compare the scores on the splits that were run both ways."""
        problem = dossier.problem
        if not supports_corruption(problem, _CHANGE):
            return self._skipped(f"{problem.name} has no other coordinates to write its items in")
        before, after = dossier.phases.get(CONFIRM.key), dossier.phases.get(IN_NEW_COORDINATES.key)
        if before is None:
            return self._skipped("there is no confirmed score to compare with")
        if after is None:
            return failed_run_result(self.name, "coordinates.unanswered", "the items in other coordinates")
        pairs = pair_scores(before, after)
        if not pairs:
            return self._skipped("no split was run both ways")
        known, changed = [(await pool_scores(problem, [pair[side] for pair in pairs])).mean for side in (0, 1)]
        # The error on other splits: on the same ones an honest score moves by far less. The smaller one of both, for a
        # method whose knowledge does not fit guesses wildly, and would hide in its own error.
        reach = min(_reach(scores, len(pairs)) for scores in (before, after))
        departed = await score_change(problem, pairs, _error_of_one(before))
        evidence = {
            "undisturbed": known,
            "in_other_coordinates": changed,
            "noise": reach,
            "departure": departed,
            "splits": len(pairs),
        }
        if abs(changed - known) > reach:
            reason = (
                "The score is not the same in other coordinates, by more than its error: the method carries knowledge "
                "that it did not learn from the data that it is given."
            )
            return AuditResult(self.name, AuditVerdict.FLAGGED, COORDINATE_KNOWLEDGE, reason, evidence)
        if departed >= LIMIT:
            reason = (
                "The predictions depend on the coordinates of the items. That is no fault; it is shown beside the "
                "score."
            )
            return AuditResult(self.name, AuditVerdict.LABELLED, COORDINATE_DEPENDENT, reason, evidence)
        return AuditResult(self.name, AuditVerdict.PASSED, "", "The score is the same in other coordinates.", evidence)

    def _skipped(self, reason: str) -> AuditResult:
        return AuditResult(self.name, AuditVerdict.SKIPPED, "", reason)


def pair_scores(before: PhaseScores, after: PhaseScores) -> list[tuple[ScoredTask, ScoredTask]]:
    """Return the scores of each split run in both coordinates, unchanged first."""
    undisturbed = {(task.domain, task.split_seed): (task, score) for task, score in before.scores}
    places = [((task.domain, task.split_seed), (task, score)) for task, score in after.scores]
    return [(undisturbed[place], changed) for place, changed in places if place in undisturbed]


async def score_change(
    problem: Problem, pairs: Sequence[tuple[ScoredTask, ScoredTask]], error_of_one: float = 0.0
) -> float:
    """Measure the change of single splits' scores, relative to their own error.

    It is the root mean square of the change over the split's own sampling error.

    Args:
        error_of_one: used for a split that has no error of its own.
    """
    changes = []
    for before, after in pairs:
        with suppress(ProblemError):  # one split alone may have no gap to recover
            one, other = await pool_scores(problem, [before]), await pool_scores(problem, [after])
            error = one.standard_error or error_of_one
            moved = abs(other.mean - one.mean)
            changes.append(moved / error if error else math.inf if moved else 0.0)
    return math.sqrt(fmean(change**2 for change in changes)) if changes else 0.0


def _reach(scores: PhaseScores, tasks: int) -> float:
    """Return half of the 90 % interval for the given number of tasks."""
    return math.sqrt(scores.estimate.tasks / tasks) * (scores.estimate.high - scores.estimate.low) / 2


def _error_of_one(scores: PhaseScores) -> float:
    return scores.estimate.standard_error * math.sqrt(scores.estimate.tasks)
