"""Row selection of splits, and both ends of the gap on one: the weak teacher, and the ceiling.

A domain's rows are in a fixed random order. Its first rows are set aside for good: the sealed final test of a domain
that is climbed on, or the test of a transfer domain. The next few are *readable*: only the research bundle has them,
with their texts, and no scored split does. All others are *open*: every split draws from it, by its seed, the teacher's
few labelled rows, the unlabelled pool and, for research and ordinary measurement, a fresh test set.

The ceiling is the student trained on true labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from aar.errors import NotFound, ProblemError
from aar.problems.protocol import Stage
from aar.problems.weak_to_strong.corpus import Corpus
from aar.problems.weak_to_strong.lab.w2s.data import widen
from aar.problems.weak_to_strong.lab.w2s.heads import fit_logistic

Rows = NDArray[np.intp]
STAGE_KEYS = {Stage.RESEARCH: 1, Stage.MEASURE: 2, Stage.CONFIRM: 3, Stage.TRANSFER: 4}
TEACHER_C = 1.0
"""Inverse regularisation strength of the teacher's head, as in scikit-learn."""
CEILING_L2 = 1e-4
"""Strength of the ceiling's head; the vanilla baseline uses the same."""


@dataclass(frozen=True, slots=True)
class SplitSizes:
    """Row counts of a domain.

    Set aside, labelled for the teacher, in a pool at most, drawn for a test, and readable.
    """

    sealed: int
    teacher: int
    pool: int
    test: int = 0
    readable: int = 0

    @property
    def climbed(self) -> bool:
        """True if methods are improved on the domain; else it is a transfer domain."""
        return self.test > 0


SIZES = {
    "movie": SplitSizes(sealed=4000, teacher=200, pool=3030, test=2798, readable=200),
    "sarcasm": SplitSizes(sealed=14000, teacher=600, pool=4000, test=6000, readable=400),
    "amazon": SplitSizes(sealed=1282, teacher=200, pool=1096),
    "nyt": SplitSizes(sealed=1430, teacher=200, pool=1218),
    "tweet": SplitSizes(sealed=1150, teacher=200, pool=902),
}
CLIMBED = tuple(name for name, sizes in SIZES.items() if sizes.climbed)
TRANSFER = tuple(name for name, sizes in SIZES.items() if not sizes.climbed)


@dataclass(frozen=True, slots=True)
class Split:
    """Row indices of a split: three disjoint sets, each in random order.

    Args:
        teacher: rows whose true labels train the weak teacher.
        pool: rows a method gets with the teacher's labels.
        test: rows it predicts.
        test_universe: number of rows that ``test`` was drawn from; its own length where the test set is fixed.
    """

    teacher: Rows
    pool: Rows
    test: Rows
    test_universe: int


def check_stage(domain: str, stage: Stage) -> None:
    """Reject a domain without splits of that stage.

    Raises NotFound for a domain that does not exist, ProblemError for the stage.
    """
    if domain not in SIZES:
        raise NotFound(f"weak_to_strong has no domain {domain!r}", f"It has {', '.join(SIZES)}")
    if SIZES[domain].climbed == (stage is Stage.TRANSFER):
        raise ProblemError(f"domain {domain!r} of weak_to_strong has no {stage} splits")


def readable_rows(domain: str) -> range:
    """Return the rows whose texts a researcher may read.

    Their labels give away no label of a scored row.
    """
    sizes = SIZES[domain]
    return range(sizes.sealed, sizes.sealed + sizes.readable)


def draw_split(domain: str, stage: Stage, split_seed: int, rows: int) -> Split:
    """Draw a split.

    Args:
        domain: one of ``SIZES``.
        stage: RESEARCH, MEASURE and CONFIRM for climbed domains, TRANSFER for the others.
        split_seed: any integer; the same one gives the same split, another stage never does.
        rows: rows in the domain.

    Raises:
        NotFound: no such domain.
        ProblemError: the domain has no such stage.
    """
    check_stage(domain, stage)
    sizes = SIZES[domain]
    rng = np.random.default_rng([STAGE_KEYS[stage], split_seed & (2**64 - 1), *domain.encode()])
    drawn = rng.permutation(np.arange(sizes.sealed, rows))
    shown, open_rows = drawn[drawn < readable_rows(domain).stop], drawn[drawn >= readable_rows(domain).stop]
    if stage in (Stage.RESEARCH, Stage.MEASURE):
        test, universe = open_rows[: sizes.test], len(open_rows)
        open_rows = open_rows[sizes.test :]
    else:
        test, universe = rng.permutation(sizes.sealed), sizes.sealed
    teacher, pool = open_rows[: sizes.teacher], open_rows[sizes.teacher :][: sizes.pool]
    if stage is Stage.RESEARCH:
        pool = rng.permutation(np.concatenate([shown, pool[: sizes.pool - len(shown)]]))
    return Split(teacher=teacher, pool=pool, test=test, test_universe=universe)


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


@cache
def use_one_blas_thread() -> None:
    """Limit BLAS to one thread in this process; call it after importing numpy.

    On matrices of a few thousand rows more threads gain nothing, wait for each other in a busy loop that takes the
    cores from researchers and scoring runs, and add in an order that depends on the machine. It is not undone after
    each use: the setting is the whole process's, and uses in several threads overlap.
    """
    ThreadpoolController().limit(limits=1, user_api="blas")
