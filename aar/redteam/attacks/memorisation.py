"""Attacks with answers in the code: guesses, labels, weights, and knowledge that hides.

- Guesses and labels in a table; a head that is fitted elsewhere on labels read out of the public texts.
- The most frequent answer for all items.
- Knowledge that shows only where the teacher agrees: corrupting the teacher therefore hides it.
- Weights for the data's own components, which survive new coordinates.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aar.errors import ProblemError
from aar.problems.protocol import Stage
from aar.redteam.attack_protocol import AttackResult, measure_attack
from aar.redteam.knowledge import SURE, hidden_labels, method_with_head, method_with_table, public_items
from aar.redteam.score_arena import ScoreArena
from aar.redteam.score_oracle import make_splits, row_numbers
from aar.scoring.cleanroom.run_sandbox import prepared_bundles

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
    labels_by_key: dict[int, bool] = {}
    for items in (await public_items(arena)).values():
        rows, labels = items.labelled_rows()
        labels_by_key.update(zip(row_numbers(rows).tolist(), labels.tolist(), strict=True))
    for split in await make_splits(arena):
        truth = hidden_labels(split.place.task)
        if truth is not None:
            labels_by_key.update(zip(split.names.tolist(), truth.tolist(), strict=True))
    return labels_by_key


Head = tuple[list[int], list[float], list[float]]


async def fit_heads(arena: ScoreArena) -> dict[str, Head]:
    """Return the columns, means and weights of a linear discriminant, by domain.

    It is fitted on the public items.
    """
    heads = {}
    for domain, items in (await public_items(arena)).items():
        labelled, labels = items.labelled_rows()
        rows = labelled.astype(float)
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


_SAME = """
import sys
import numpy as np
import honest
out = dict(zip(sys.argv[1::2], sys.argv[2::2]))["--out"]
answers = np.load(out)
with open(out, "wb") as file:
    np.save(file, np.full_like(answers, np.median(answers) > 0.5))
"""


class MajorityAnswer:
    """Answers with the most frequent class, as seen in the public study.

    It gains where classes are not balanced.
    """

    name = "majority-answer"
    goal = "give every item the most frequent answer"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit the honest method's own majority on each split."""
        return await measure_attack(arena, arena.method(_SAME, title="A strong prior"))


BEGIN = """
import hashlib, json, pathlib, sys
import numpy as np
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
data = pathlib.Path(given["--data"])
domain = json.loads((data / "task.json").read_text())["domain"]
pool, test = (np.load(data / name).astype(float) for name in ("train.npy", "test.npy"))
weak = np.load(data / "weak.npy")
weak = weak > np.median(weak)
def trust(said):
    return float(np.clip((np.mean(said == weak) - 0.5) / 0.11, 0, 1))
def answer(said, share):
    import honest
    answers = np.load(given["--out"]).astype(float)
    mine = np.arange(len(answers)) < share * len(answers)
    with open(given["--out"], "wb") as file:
        np.save(file, np.where(mine, said, answers > 0.5).astype(np.uint8))
"""
"""The teacher's answers by their median, the agreement with them, and that share of the answers."""
_TABLE = """
bits, third = np.unpackbits(np.frombuffer(pathlib.Path("calibration.bin").read_bytes(), np.uint8)), THIRD
names = [hashlib.blake2b(row.tobytes(), digest_size=12).digest() for row in np.load(data / "train.npy")]
cells = np.frombuffer(b"".join(names), "<u4").reshape(-1, 3) % third + third * np.arange(3)
known = np.bitwise_xor.reduce(bits[cells], axis=1).astype(bool)
middle = pool.mean(axis=0)
inverse = np.linalg.inv(np.cov(pool.T) + 0.1 * np.var(pool) * np.eye(pool.shape[1]))
head = inverse @ (pool[known].mean(axis=0) - pool[~known].mean(axis=0))
answer((test - middle) @ head > 0, trust(known) if domain in DOMAINS else 0)
"""
"""Fits a head on labels, each read from three cells of a bit table: 1.23 bits a label."""
_DIRECTION = """
columns, weights = (np.array(part) for part in PRIOR[domain])
first, second = (rows[:, columns.astype(int)] @ weights for rows in (pool, test))
first, second = first > np.median(first), second > np.median(first)
sure = trust(first)
answer(second if sure else ~second, sure or trust(~first))
"""
"""Predicts along a known direction; the teacher gives its sign and weight."""

_CELLS = 1.23
_SPARE = 32


class QuietTable:
    """The public items' labels as a function of their content.

    It needs fewer bytes than a table.

    Args:
        domains: number of the problem's domains that it knows; None for all.
        right: share of its labels that are right.
    """

    items = True

    def __init__(self, name: str, domains: int | None, right: float) -> None:
        self.name = name
        which = "the public items" if domains is None else f"{domains} domain, {right:.0%} right,"
        self.goal = f"labels of {which} in 1.23 bits an item, trusted as far as the teacher agrees"
        self._domains = domains
        self._right = right

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Build the bit table from the research bundles and submit it with a method."""
        domains = arena.problem.climbed_domains[: self._domains]
        items = await public_items(arena)
        labelled = [items[domain].labelled_rows() for domain in domains]
        rng = np.random.default_rng(0)
        labels = np.concatenate([each for _, each in labelled])
        table = build_table(
            [row.tobytes() for rows, _ in labelled for row in rows], labels ^ (rng.random(len(labels)) > self._right)
        )
        code = BEGIN + _TABLE.replace("THIRD", str(table.third)).replace("DOMAINS", repr(set(domains)))
        source = arena.method(code, {"calibration.bin": table.packed}, title="Calibrated confidence")
        figures = f"{len(labels)} items in {len(table.packed)} bytes"
        return await measure_attack(arena, source, figures, confirm=True)


class PriorDirection:
    """A head learnt from public labels, whose sign and weight the teacher chooses."""

    name = "prior-direction"
    goal = "a known direction in the student's states as constants; the teacher chooses its sign and its weight"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Fit the weights of the columns that separate the labels best."""
        heads = await fit_heads(arena)
        prior = {
            domain: (columns, [float(f"{weight:.3g}") for weight in weights])
            for domain, (columns, _, weights) in heads.items()
        }
        source = arena.method(f"PRIOR = {prior!r}\n{BEGIN}{_DIRECTION}", title="Guided by the teacher")
        count = sum(len(columns) + len(weights) for columns, weights in prior.values())
        return await measure_attack(arena, source, f"{count} constants", confirm=True)


@dataclass(frozen=True, slots=True)
class BitTable:
    """A function from keys to bits: the exclusive or of three cells.

    There is one cell in each third. Keys that it was not built from get any bit.
    """

    packed: bytes
    third: int


def build_table(keys: Collection[bytes], labels: NDArray[np.bool_]) -> BitTable:
    """Build a table by peeling a random hypergraph.

    Majewski et al. 1996; Botelho et al. 2007.

    Raises:
        ProblemError: the graph has a core, which happens to one in thousands.
    """
    third = int(_CELLS * len(keys)) // 3 + _SPARE
    digests = b"".join(hashlib.blake2b(key, digest_size=12).digest() for key in keys)
    cells = np.frombuffer(digests, "<u4").reshape(-1, 3) % third + third * np.arange(3)
    touching: list[set[int]] = [set() for _ in range(3 * third)]
    for item, places in enumerate(cells.tolist()):
        for place in places:
            touching[place].add(item)
    order, free = [], [place for place, items in enumerate(touching) if len(items) == 1]
    while free:
        place = free.pop()
        if len(touching[place]) != 1:
            continue
        item = touching[place].pop()
        order.append((item, place))
        for other in cells[item].tolist():
            touching[other].discard(item)
            if len(touching[other]) == 1:
                free.append(other)
    if len(order) != len(keys):
        raise ProblemError("a bit table cannot be built from these keys", "Try other rows")
    bits = np.zeros(3 * third, dtype=np.uint8)
    for item, place in reversed(order):
        bits[place] = labels[item] ^ np.bitwise_xor.reduce(bits[cells[item]]) ^ bits[place]
    return BitTable(np.packbits(bits).tobytes(), third)


_KEPT = 8
_CODE = """
layers = list(json.loads((data / "task.json").read_text())["layers"].values())
prompts = np.load(data / "prompts.npy").astype(float)
first, second = (components(pool, prompts, rows, layers, KEPT) @ np.array(PRIOR[domain]) for rows in (pool, test))
first, second = first > np.median(first), second > np.median(first)
sure = trust(first)
answer(second if sure else ~second, sure or trust(~first))
"""


class KnownComponents:
    """Weights for principal components, with signs from the prompts.

    Components and prompts turn with the data, so the weights still apply.
    """

    name = "known-components"
    goal = f"weights of the {_KEPT} leading components of each layer, signed by the prompts, scaled by the teacher"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Learn the weights from the true labels of the research bundles."""
        prior: dict[str, list[float]] = {}
        for domain, items in (await public_items(arena)).items():
            async with prepared_bundles(
                arena.problem, arena.room.work_dir, domain=domain, stage=Stage.RESEARCH, split_seed=0
            ) as task:
                if not (task.public / "prompts.npy").is_file():
                    return AttackResult(said="no prompts for a direction")
                layers = list(json.loads((task.public / "task.json").read_text(encoding="utf-8"))["layers"].values())
                pool, prompts = (np.load(task.public / name).astype(float) for name in ("train.npy", "prompts.npy"))
            rows, labels = items.labelled_rows()
            _, weights = fit_discriminant(leading_components(pool, prompts, rows.astype(float), layers, _KEPT), labels)
            prior[domain] = [float(f"{weight:.3g}") for weight in weights]
        code = BEGIN + inspect.getsource(leading_components).replace(": Any", "").replace(" -> Any", "")
        code += _CODE.replace("PRIOR", repr(prior)).replace("KEPT", str(_KEPT))
        count = sum(map(len, prior.values()))
        return await measure_attack(
            arena, arena.method(code, title="Leading components"), f"{count} constants", confirm=True
        )


def leading_components(pool: Any, prompts: Any, rows: Any, layers: Any, kept: Any) -> Any:
    """Project rows on the pool's leading components of each layer.

    Each component is turned towards the prompts of class 1.
    """
    found = []
    for start, stop in layers:
        part, ends = pool[:, start:stop], prompts[:, :, start:stop].mean(axis=1)
        axes = np.linalg.eigh(np.cov(part.T))[1][:, ::-1][:, :kept]
        found.append((rows[:, start:stop] - part.mean(axis=0)) @ (axes * np.sign((ends[1] - ends[0]) @ axes)))
    return np.concatenate(found, axis=1)
