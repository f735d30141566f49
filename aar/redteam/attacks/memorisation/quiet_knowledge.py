"""Attacks whose knowledge shows only where the teacher agrees.

Corrupting the teacher therefore hides it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aar.errors import ProblemError
from aar.redteam.attack_measurement import measure_attack
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.attacker_knowledge import public_items
from aar.redteam.attacks.memorisation.memorised_labels import fit_heads
from aar.redteam.score_arena import ScoreArena

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
        known = await public_items(arena)
        told = [known[domain].labelled_rows() for domain in domains]
        rng = np.random.default_rng(0)
        labels = np.concatenate([each for _, each in told])
        table = build_table(
            [row.tobytes() for rows, _ in told for row in rows], labels ^ (rng.random(len(labels)) > self._right)
        )
        code = BEGIN + _TABLE.replace("THIRD", str(table.third)).replace("DOMAINS", repr(set(domains)))
        source = arena.method(code, {"calibration.bin": table.packed}, title="Calibrated confidence")
        said = f"{len(labels)} items in {len(table.packed)} bytes"
        return await measure_attack(arena, source, said, confirm=True)


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
