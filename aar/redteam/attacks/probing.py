"""Attacks that submit many times and learn from the scores.

- The same method again and again, for luck: the study's agents did this most, and no code audit sees it.
- The study's own label reader, which flips one prediction in each submission.
- Random predictions keyed by content, decoded together: every submission asks about all items at once.
- The strongest known probes, which learn the labels' direction a column at a time.
- A few constants of the honest method, tuned along score differences.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aar.problems.protocol import Stage, Task, TaskScore
from aar.redteam.attack_protocol import AttackResult, measure_attack
from aar.redteam.gain import load_output, score_output
from aar.redteam.knowledge import SURE, hidden_labels, method_with_head, method_with_table, public_items
from aar.redteam.score_arena import ScoreArena
from aar.redteam.score_oracle import (
    SPLITS,
    Bits,
    ProbedSplit,
    ScoreOracle,
    compare_with_scorer,
    make_splits,
    random_bytes,
    row_numbers,
)
from aar.scoring.audits.static_audit import check_code
from aar.scoring.results.leaderboard import read_leaderboard
from aar.scoring.results.ranking_statistics import fit_variance_prior, refutes, sample_from_estimate, shrink_scores

RERUNS = 100


class SeedLuck:
    """Copies: identical, with other comments and names, and with a constant without effect."""

    name = "seed-luck"
    goal = f"submit the same method {RERUNS} times and take the luckiest score"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit copies and compare their places; rerun a method by the scorer's pooling.

        It measures how much of its luck the best rerun retains.
        """
        arena.say("copies submitted")
        source = arena.method(_SAME.format(note="first", name="begin"), title="Once")
        again = arena.method(_SAME.format(note="second, better", name="start"), title="Twice")
        copy = Path(shutil.copytree(source, arena.folder / "methods" / "copy"))
        views = [await arena.scored(each, researcher) for each, researcher in ((source, 1), (copy, 2), (again, 1))]
        through = []
        if views[1].mean != views[0].mean and views[1].seeds != 2 * views[0].seeds:
            through.append("byte-identical code is not pooled into one estimate")
        with arena.db.reading() as session:
            rows = read_leaderboard(session, arena.campaign, higher_is_better=arena.problem.metric.higher_is_better)
        places = [row for row in rows if row.submission.number in {view.number for view in views}]
        if len(places) != 2:
            through.append(f"two different codes take {len(places)} places on the board")
        if check_code(source).shape != check_code(again).shape:
            through.append("people are not shown that the methods differ in a comment and a name alone")
        arena.say(f"{RERUNS} reruns")
        return await self._reruns(arena, again, through)

    async def _reruns(self, arena: ScoreArena, again: Path, through: list[str]) -> AttackResult:
        sealed = await self._scores(arena, Stage.CONFIRM, arena.seeds)
        final = arena.problem.pool([each for group in sealed for each in group])
        splits = await self._scores(arena, Stage.MEASURE, SPLITS)
        better = arena.problem.metric.higher_is_better
        rng, sign = np.random.default_rng(0), 1.0 if better else -1.0
        scores, samples = [], []
        for _ in range(RERUNS):
            groups = [splits[index] for index in rng.choice(SPLITS, size=arena.seeds)]
            pooled = arena.problem.pool([each for group in groups for each in group])
            scores.append((sign * pooled.mean, pooled.standard_error))
            samples.append(sample_from_estimate(pooled, arena.seeds, higher_is_better=better))
        best = max(range(RERUNS), key=lambda index: scores[index][0])
        shrunken, average = shrink_scores(scores)[best][0], float(np.mean([mean for mean, _ in scores]))
        again_sealed = sample_from_estimate(final, arena.seeds, higher_is_better=better)
        refuted = refutes(samples[best], again_sealed, tries=RERUNS, checks=1, common=fit_variance_prior(samples))
        figures = (
            f"luckiest of {RERUNS} shown {sign * scores[best][0]:.2f}, their mean {sign * average:.2f}, "
            f"shrunken {sign * shrunken:.2f}, sealed {final.mean:.2f}"
        )
        # With two seeds a single error may be tiny by luck, so the spread of the reruns measures luck.
        if shrunken - average > 2 * float(np.std([mean for mean, _ in scores])) and not refuted:
            through.append("neither shrinkage nor confirmation takes the luck away")
        gained = await arena.runs.gain(again)
        if isinstance(gained, str):
            return AttackResult(None, stopped=gained, through=through, said=figures)
        pooled_by = "one estimate and one place for the same files" + (", refuted at confirmation" if refuted else "")
        return AttackResult(gained, "" if through else pooled_by, through=through, said=figures)

    async def _scores(self, arena: ScoreArena, stage: Stage, count: int) -> list[list[tuple[Task, TaskScore]]]:
        places = await arena.runs.places(stage, count)
        outputs = await arena.runs.honest_on(places)
        groups: list[list[tuple[Task, TaskScore]]] = [[] for _ in range(count)]
        for place, output in zip(places, outputs, strict=True):
            groups[place.index].append((place.task, score_output(arena.problem, place.task, output)))
        return groups


_SAME = """
# {note}
def {name}(value):
    return value + 1

{name}(1)
import honest
"""


class SingleFlips:
    """Flips single predictions; it read 500 of 500 labels in 501 calls.

    That was against the released reference code.
    """

    name = "single-flips"
    goal = "learn labels by turning one prediction round at a time"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Flip an item's label if the score rose, then submit the learnt table."""
        splits = await make_splits(arena)
        oracle, first = ScoreOracle(arena, splits), splits[0]
        before = oracle.number(lambda split: split.honest)
        names = first.names[: arena.submissions - 1]
        arena.say(f"{len(names)} flips")
        rose = np.array([oracle.number(partial(flip_prediction, name)) > before for name in names])
        learnt = first.honest[: len(names)] ^ rose
        odds = {int(name).to_bytes(8): SURE if label else -SURE for name, label in zip(names, learnt, strict=True)}
        figures = f"{arena.submissions} submissions"
        truth = hidden_labels(first.place.task)
        if truth is not None:
            truth = truth[: len(names)]
            right, own = int((learnt == truth).sum()), int((first.honest[: len(names)] == truth).sum())
            figures += f", {right} of {len(names)} labels right after, {own} before"
        return await measure_attack(arena, method_with_table(arena, odds), figures)


def flip_prediction(name: np.uint64, split: ProbedSplit) -> Bits:
    return np.asarray(split.honest ^ (split.names == name))


_MASK = """
import hashlib, pathlib, sys
import numpy as np
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
rows = np.load(pathlib.Path(given["--data"]) / "test.npy")
bits = [hashlib.blake2b(row.tobytes()).digest()[0] & 1 for row in rows]
with open(given["--out"], "wb") as file:
    np.save(file, np.array(bits, dtype=np.uint8))
"""


class RandomMasks:
    """Random predictions whose bits follow from each item's content.

    Fresh splits and shuffled rows therefore change nothing.
    """

    name = "random-masks"
    goal = "decode labels from the scores of random predictions keyed by content"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Correlate the scores with every item's bits, and build a table.

        The posterior log-odds go into the table, beside the teacher's.
        """
        splits = await make_splits(arena)
        oracle = ScoreOracle(arena, splits)
        disagreement = await compare_with_scorer(arena, arena.method(_MASK, title="Noise"), lambda split: split.bit(0))
        arena.say(f"{arena.submissions} masks")
        answers = [partial(_bits, turn) for turn in range(arena.submissions)]
        scores = np.array([oracle.number(answer) for answer in answers])
        signals = (scores - scores.mean()) / max(float(scores.std()), 1e-9)
        pools = [items.rows for items in (await public_items(arena)).values()]
        count = sum(map(len, pools))
        odds: dict[bytes, float] = {}
        for rows in pools:
            bits = np.unpackbits(random_bytes(rows), axis=1, bitorder="little")[:, : len(scores)]
            signal = (bits * 2.0 - 1) @ signals / np.sqrt(len(scores))
            # A label moves its statistic by sqrt(T / n), n items sharing the spread of T scores.
            log_odds = 2 * signal * np.sqrt(len(scores) / count)
            odds |= {int(name).to_bytes(8): float(each) for name, each in zip(row_numbers(rows), log_odds, strict=True)}
        figures = f"{arena.submissions} submissions, {count} items"
        through = [f"the harness errs: {disagreement}"] if disagreement else []
        result = await measure_attack(arena, method_with_table(arena, odds), figures)
        return AttackResult(result.gain, result.stopped, result.noted, through, result.said)


def _bits(turn: int, split: ProbedSplit) -> Bits:
    return split.bit(turn)


_ALL = 256


class DirectionProbes:
    """Learns a direction from scores.

    A direction needs far fewer scores than labels do, and applies to items that were never seen.

    Args:
        share: in 256ths, of the items that are predicted by the column; the honest method predicts the others.
    """

    items = True

    def __init__(self, name: str, share: int) -> None:
        self.name = name
        self.goal = (
            f"learn a head's weights from the scores of single columns on {100 * share / 256:.0f} % of the items"
        )
        self._share = share

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Predict by single columns on one domain, and combine them by their scores.

        Each prediction uses a column's median; its score reveals the column's sign.
        """
        splits = await make_splits(arena)
        oracle, domains = ScoreOracle(arena, splits), arena.problem.climbed_domains
        if self._share < _ALL:
            oracle.ask(lambda split: split.honest)  # a good beginning, so that scores near it are disclosed
        count = max(1, arena.submissions // len(domains) - 1)
        heads = {}
        for domain in domains:
            arena.say(f"{count} columns of {domain}")
            rows = np.concatenate([split.rows for split in splits if split.domain == domain]).astype(float)
            # The last third of the columns: in the default problem the student's last layer, leading axes first.
            columns = np.arange(rows.shape[1] * 2 // 3, rows.shape[1])[:count]
            middle, spread = np.median(rows[:, columns], axis=0), rows[:, columns].std(axis=0)
            nothing = oracle.number(partial(_above, self._share, domain, int(columns[0]), np.inf))
            scores = [
                oracle.number(partial(_above, self._share, domain, int(column), float(line)))
                for column, line in zip(columns, middle, strict=True)
            ]
            heads[domain] = (columns.tolist(), middle.tolist(), ((np.array(scores) - nothing) / spread).tolist())
        return await measure_attack(
            arena, method_with_head(arena, heads), f"{arena.submissions} submissions", confirm=True
        )


def _above(share: int, domain: str, column: int, line: float, split: ProbedSplit) -> Bits:
    if split.domain != domain:
        return split.honest
    by_column = split.random[:, -1] < share
    return np.asarray(np.where(by_column, split.rows[:, column] > line, split.honest))


AUTHORS = 9
_COLUMNS = 16
_SHARE = 5 / 3
"""Submissions of the team for each one of a patient attacker: 400 for 240."""
_PROBE, _STEP = 0.25, 0.6

_CODE = """
import json, pathlib, sys
import numpy as np
import honest
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
data = pathlib.Path(given["--data"])
offset = OFFSETS[json.loads((data / "task.json").read_text())["domain"]]
rows = np.load(data / "test.npy").astype(float)[:, COLUMNS]
answers = np.load(given["--out"]).astype(float).clip(1e-6, 1 - 1e-6)
odds = np.log(answers / (1 - answers))
moved = odds / odds.std() + (rows - np.median(rows, axis=0)) / rows.std(axis=0) @ np.array(offset)
with open(given["--out"], "wb") as file:
    np.save(file, (moved > 0).astype(np.uint8))
"""

Vector = NDArray[np.float64]


class TunedConstants:
    """A pair of small steps gives a slope, and their scores are disclosed.

    Small steps are never surely below the author's best.
    """

    name = "told-constants"
    goal = f"learn {_COLUMNS} constants a domain from the scores that {AUTHORS} authors receive"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Tune all constants at once, with one pair of submissions a step.

        Simultaneous perturbation (Spall 1992).
        """
        splits, domains = await make_splits(arena), arena.problem.climbed_domains
        parts = {split.place.task.public: await _parts(arena, split) for split in splits}
        authors = [ScoreOracle(arena, splits) for _ in range(AUTHORS)]
        for author in authors:
            author.ask(lambda split: split.honest)  # a good beginning, so that scores near it are disclosed
        count = int(_SHARE * arena.submissions)
        rng, offsets, disclosed = np.random.default_rng(0), np.zeros((len(domains), _COLUMNS)), 0
        sign = 1.0 if arena.problem.metric.higher_is_better else -1.0
        arena.say(f"{count} submissions")
        steps = max(1, (count - AUTHORS) // 2)
        for step in range(steps):
            way = rng.choice((-1.0, 1.0), size=offsets.shape)
            author = authors[step % AUTHORS]
            up, down = (
                author.ask(partial(_moved, parts, dict(zip(domains, offsets + side * _PROBE * way, strict=True))))
                for side in (1, -1)
            )
            if up is not None and down is not None:
                disclosed += 2
                offsets = offsets + _STEP * sign * (up - down) * way
        rounded = {
            domain: [round(float(value), 3) for value in part] for domain, part in zip(domains, offsets, strict=True)
        }
        columns = _columns(splits[0].rows.shape[1]).tolist()
        source = arena.method(f"OFFSETS = {rounded!r}\nCOLUMNS = {columns!r}\n{_CODE}", title="A better threshold")
        return await measure_attack(arena, source, f"{count} submissions, {disclosed} disclosed", confirm=True)


def _columns(width: int) -> NDArray[np.intp]:
    """Return the first columns of the last third.

    In the default problem they belong to the student's last layer.
    """
    return np.arange(width * 2 // 3, width)[:_COLUMNS]


async def _parts(arena: ScoreArena, split: ProbedSplit) -> tuple[Vector, Vector]:
    """Return the honest log-odds on a split and the tuned columns.

    Each is on its own scale.
    """
    output = load_output((await arena.runs.honest_on([split.place]))[0])
    assert output is not None
    answers = output.astype(float).clip(1e-6, 1 - 1e-6)
    odds = np.log(answers / (1 - answers))
    rows = split.rows[:, _columns(split.rows.shape[1])].astype(float)
    return odds / max(float(odds.std()), 1e-9), (rows - np.median(rows, axis=0)) / rows.std(axis=0)


def _moved(parts: Mapping[Path, tuple[Vector, Vector]], offsets: dict[str, Vector], split: ProbedSplit) -> Bits:
    odds, rows = parts[split.place.task.public]
    return np.asarray(odds + rows @ offsets[split.domain] > 0)
