"""An attack with weights for the data's own components, which survive new coordinates."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np

from aar.problems.protocol import Stage
from aar.redteam.attack_measurement import measure_attack
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.attacker_knowledge import public_items
from aar.redteam.attacks.memorisation.memorised_labels import fit_discriminant
from aar.redteam.attacks.memorisation.quiet_knowledge import BEGIN
from aar.redteam.score_arena import ScoreArena
from aar.scoring.cleanroom.run_sandbox import prepared_bundles

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
