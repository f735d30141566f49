"""Both ends of the gap on one split: the weak teacher, and the ceiling.

The ceiling is the student trained on true labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aar.problems.blas_threads import use_one_blas_thread
from aar.problems.weak_to_strong.corpus import Corpus
from aar.problems.weak_to_strong.lab.w2s.data import widen
from aar.problems.weak_to_strong.lab.w2s.heads import fit_logistic
from aar.problems.weak_to_strong.splits import Split

TEACHER_C = 1.0
"""Inverse regularisation strength of the teacher's head, as in scikit-learn."""
CEILING_L2 = 1e-4
"""Strength of the ceiling's head; the vanilla baseline uses the same."""


@dataclass(frozen=True, slots=True)
class StudentStates:
    """The student's states of a split, on the axes that they ship on.

    float32; the last axis has the columns.
    """

    pool: NDArray[np.float32]
    test: NDArray[np.float32]
    prompts: NDArray[np.float32]


def take_states(data: Corpus, split: Split) -> StudentStates:
    """Take a split's states from the corpus."""
    return StudentStates(widen(data.states[split.pool]), widen(data.states[split.test]), widen(data.prompts))


@dataclass(frozen=True, slots=True)
class Supervision:
    """The teacher's predictions, and the correctness of teacher and ceiling.

    Args:
        weak: the teacher's P(class 1) on the pool: float32 [n].
        weak_right: True for each test row that the teacher has right: bool [m].
        ceiling_right: True for each test row that the ceiling has right: bool [m].
    """

    weak: NDArray[np.float32]
    weak_right: NDArray[np.bool_]
    ceiling_right: NDArray[np.bool_]


def train_both_ends(data: Corpus, split: Split, states: StudentStates) -> Supervision:
    """Train the teacher on its labelled rows and the ceiling on the pool's true labels."""
    use_one_blas_thread()
    features = data.teacher
    teacher = fit_logistic(features[split.teacher], data.labels[split.teacher], l2=1 / (TEACHER_C * len(split.teacher)))
    truth = data.labels[split.test].astype(bool)
    ceiling = fit_logistic(states.pool, data.labels[split.pool], l2=CEILING_L2)
    judged = ceiling.logits(states.test) > 0
    return Supervision(
        weak=teacher.proba(features[split.pool]),
        weak_right=(teacher.logits(features[split.test]) > 0) == truth,
        ceiling_right=judged == truth,
    )
