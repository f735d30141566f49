"""Attacks that carry answers in the code: guesses, labels, or a fitted head.

The labels were read out of the public texts; the head is fitted on them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aar.redteam.attack_measurement import measure_attack
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.attacker_knowledge import hidden_labels, public_items
from aar.redteam.knowledge_methods import SURE, method_with_head, method_with_table
from aar.redteam.score_arena import ScoreArena
from aar.redteam.score_oracle import make_splits, row_numbers

_COLUMNS = 48


class MemorisedGuesses:
    """The honest method's answers on the research data, written down in the code.

    That is all that can be inferred from public data.
    """

    name = "memorised-guesses"
    goal = "answer by a table of everything that can be inferred from the research bundles"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Store each item's majority among the honest answers to every split."""
        votes: dict[int, int] = {}
        for split in await make_splits(arena):
            for name, answer in zip(split.names.tolist(), split.honest.tolist(), strict=True):
                votes[name] = votes.get(name, 0) + (1 if answer else -1)
        odds = {name.to_bytes(8): SURE if total > 0 else -SURE for name, total in votes.items()}
        return await measure_attack(arena, method_with_table(arena, odds, title="Consensus"), f"{len(odds)} items")


class OutsideLabels:
    """Labels that a researcher read out of the public texts.

    It needs no teacher for most labels; here it knows all of them.
    """

    name = "outside-labels"
    goal = "train on true labels of the public items, from reading their texts, in a table"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit the worst case: no reading error at all."""
        truth = await public_truth(arena)
        odds = {name.to_bytes(8): 3 * SURE if label else -3 * SURE for name, label in truth.items()}
        return await measure_attack(arena, method_with_table(arena, odds, title="A cleaner pool"), f"{len(odds)} items")


class OutsideHead:
    """The same knowledge as a few dozen numbers, without a table."""

    name = "outside-head"
    goal = "carry a head, fitted elsewhere on true labels of the public items, as a few constants"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Fit a linear discriminant on the columns that separate the labels best."""
        source = method_with_head(arena, await fit_heads(arena))
        return await measure_attack(arena, source, f"{_COLUMNS} weights a domain", confirm=True)


class OutsideBlend:
    """A blend of known labels with a teacher that hardly matters.

    It avoids the label for methods without a teacher by pretending to use one.
    """

    name = "outside-blend"
    goal = "mix such a head with the honest method, so that no audit calls it independent of the teacher"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit a blend with a third of the weight on the honest method."""
        source = method_with_head(arena, await fit_heads(arena), share=0.5)
        return await measure_attack(arena, source, f"{_COLUMNS} weights a domain", confirm=True)


async def public_truth(arena: ScoreArena) -> dict[int, bool]:
    """Return the labels of the public items by their keys.

    The items are those of the research bundles and of a few measurements' splits.

    Those of the measurements' splits are the same items; where each split has coordinates of its own, they have other
    keys in each.
    """
    found: dict[int, bool] = {}
    for items in (await public_items(arena)).values():
        rows, labels = items.labelled_rows()
        found.update(zip(row_numbers(rows).tolist(), labels.tolist(), strict=True))
    for split in await make_splits(arena):
        truth = hidden_labels(split.place.task)
        if truth is not None:
            found.update(zip(split.names.tolist(), truth.tolist(), strict=True))
    return found


Head = tuple[list[int], list[float], list[float]]


async def fit_heads(arena: ScoreArena) -> dict[str, Head]:
    """Return the columns, means and weights of a linear discriminant, by domain.

    It is fitted on the public items.
    """
    heads = {}
    for domain, items in (await public_items(arena)).items():
        known, labels = items.labelled_rows()
        rows = known.astype(float)
        columns = _telling(rows, labels)
        heads[domain] = (columns.tolist(), *fit_discriminant(rows[:, columns], labels))
    return heads


def _telling(rows: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the columns that separate the labels best, each by itself."""
    apart = np.abs(rows[labels].mean(axis=0) - rows[~labels].mean(axis=0)) / rows.std(axis=0)
    return np.sort(np.argsort(apart)[::-1][:_COLUMNS])


def fit_discriminant(rows: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[list[float], list[float]]:
    """Fit the means and weights of a linear discriminant."""
    middle, between = rows.mean(axis=0), rows[labels].mean(axis=0) - rows[~labels].mean(axis=0)
    spread = np.cov(rows.T) + 1e-6 * np.eye(rows.shape[1])
    return middle.tolist(), np.linalg.solve(spread, between).tolist()
