"""Splits: disjoint, sealed where they must be, drawn afresh where they may be."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.problems.protocol import Stage
from aar.problems.registry import find_problem
from aar.problems.weak_to_strong.bundles import read_hidden
from aar.problems.weak_to_strong.corpus import load_corpus
from aar.problems.weak_to_strong.splits import CLIMBED, SIZES, TRANSFER, Split, draw_split, readable_rows

ROWS = {"movie": 10_228, "sarcasm": 25_600, "amazon": 2_578, "nyt": 2_848, "tweet": 2_252}
OPEN_STAGES = (Stage.RESEARCH, Stage.MEASURE)
every_split = st.one_of(
    st.tuples(st.sampled_from(CLIMBED), st.sampled_from([*OPEN_STAGES, Stage.CONFIRM])),
    st.tuples(st.sampled_from(TRANSFER), st.just(Stage.TRANSFER)),
)


def parts(split: Split) -> list[set[int]]:
    return [set(rows.tolist()) for rows in (split.teacher, split.pool, split.test)]


@given(every_split, st.integers(0, 2**63 - 1))
@settings(max_examples=40)
def test_teacher_pool_and_test_are_disjoint(which: tuple[str, Stage], seed: int) -> None:
    domain, stage = which
    split = draw_split(domain, stage, seed, ROWS[domain])
    teacher, pool, test = parts(split)
    assert all(not one & other for one, other in combinations((teacher, pool, test), 2))
    assert len(teacher) == SIZES[domain].teacher == len(split.teacher)
    assert len(pool) == SIZES[domain].pool == len(split.pool)
    assert len(test) == len(split.test) <= split.test_universe
    assert max(teacher | pool | test) < ROWS[domain]


@given(st.sampled_from(CLIMBED), st.sampled_from(OPEN_STAGES), st.integers(0, 2**63 - 1))
@settings(max_examples=40)
def test_the_sealed_rows_are_never_touched_before_confirmation(domain: str, stage: Stage, seed: int) -> None:
    sealed = set(range(SIZES[domain].sealed))
    assert all(not rows & sealed for rows in parts(draw_split(domain, stage, seed, ROWS[domain])))


@given(every_split, st.integers(0, 2**63 - 1))
@settings(max_examples=40)
def test_rows_that_can_be_read_are_in_no_split_that_is_scored(which: tuple[str, Stage], seed: int) -> None:
    domain, stage = which
    teacher, pool, test = parts(draw_split(domain, stage, seed, ROWS[domain]))
    read = set(readable_rows(domain))
    if stage is Stage.RESEARCH:
        assert read <= pool
        assert not read & (teacher | test)
    else:
        assert not read & (teacher | pool | test)


@pytest.mark.parametrize(("domain", "stage"), [("movie", Stage.CONFIRM), ("nyt", Stage.TRANSFER)])
def test_the_final_test_is_fixed_but_its_order_and_teacher_are_not(domain: str, stage: Stage) -> None:
    one, other = (draw_split(domain, stage, seed, ROWS[domain]) for seed in (1, 2))
    assert parts(one)[2] == parts(other)[2] == set(range(SIZES[domain].sealed))
    assert one.test.tolist() != other.test.tolist()
    assert parts(one)[0] != parts(other)[0]


def test_rows_are_those_of_the_data() -> None:
    assert {domain: len(load_corpus(domain).labels) for domain in SIZES} == ROWS


@pytest.mark.parametrize("domain", sorted(SIZES))
def test_data_is_balanced_and_free_of_duplicates(domain: str) -> None:
    data = load_corpus(domain)
    assert data.labels.mean() == pytest.approx(0.5)
    if data.texts is not None:
        assert len({text.casefold() for text in data.texts}) == len(data.labels)


@pytest.mark.parametrize("domain", CLIMBED)
def test_gap_is_wide(domain: str, tmp_path: Path) -> None:
    task = find_problem("weak_to_strong").prepare(domain, Stage.CONFIRM, 0, tmp_path)
    hidden = read_hidden(task.hidden)
    assert hidden["ceiling_right"].mean() - hidden["weak_right"].mean() > 0.15
    weak = np.load(task.public / "weak.npy")
    assert weak.dtype == np.float32
    assert 0 < weak.min() < 0.5 < weak.max() < 1
