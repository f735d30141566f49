"""The strongest known probes: they learn the labels' direction, a column at a time."""

from __future__ import annotations

from functools import partial

import numpy as np

from aar.redteam.attack_measurement import measure_attack
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.knowledge_methods import method_with_head
from aar.redteam.score_arena import ScoreArena
from aar.redteam.score_oracle import Bits, ProbedSplit, ScoreOracle, make_splits

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
