"""The example campaign's methods, submitted as researchers submit, with made-up scores."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aar.problems.protocol import Estimate, Metric, TaskScore
from aar.scoring import submission_queue
from aar.scoring.cleanroom.clean_room import ScoringRunResult
from aar.scoring.method_manifest import MethodManifest
from aar.scoring.results import score_writer
from aar.scoring.results.verdict_messages import RunFailure
from aar.scoring.submissions import submit
from aar.snapshots.store import SnapshotStore
from aar.store.database import Database
from aar.testing.examples.planted_secrets import PART, SECRET

_METRIC = Metric("PGR", True, 1.0, 0.23, "two researchers in seven days")
METHODS: Final = (
    (1, "Confident half of the weak labels", "data_filtering", 0.21, None),
    (2, "Soft labels, strong L2", "confidence_weighting", 0.32, None),
    (3, "k-NN denoising in layer 6", "data_filtering", 0.35, None),
    (4, "Zero-shot direction from prompt pairs", "unsupervised_elicitation", 0.28, None),
    (1, "Confident half, cross-fitted twice", "self_training", 0.27, 1),
    (2, "Strong L2 on PCA-10", "model_internals", 0.40, 2),
    (4, "Zero-shot where it agrees with the teacher", "unsupervised_elicitation", 0.37, 4),
    (3, "Reads past its memory", "other", None, None),
    (3, "k-NN, then co-teaching", "ensemble", 0.39, 3),
    (4, "Zero-shot logits plus weak logits", "ensemble", 0.46, 7),
    (1, "Naive self-training", "self_training", -0.9, 5),
    (2, "PCA-10 head, zero-shot prior", "model_internals", 0.52, 6),
    (4, "Two directions, averaged over seeds", "ensemble", 0.49, 10),
    (2, "PCA-10 head, prior, confidence floor", "model_internals", 0.55, 12),
)
"""Researcher, title, family, score (None where it crashes) and parent of each."""


def submit_example(
    db: Database, snapshots: SnapshotStore, folder: Path, method: tuple[int, str, str, str, int | None]
) -> None:
    """Write a method's code and submit it.

    The arguments: its number, its researcher's id, title, family and parent.
    """
    index, researcher_id, title, family, parent = method
    directory = folder / f"method-{index}"
    directory.mkdir()
    (directory / "run.py").write_text(
        f'"""{title}. </pre><script>alert(1)</script>"""\n\nimport numpy as np\n\n\n'
        "def main(data: str, seed: int, out: str) -> None:\n"
        "    rng = np.random.default_rng(seed)\n"
        f"    np.save(out, rng.random({index}))\n"
    )
    (directory / "weights.bin").write_bytes(bytes(range(256)))
    manifest = MethodManifest(
        title=title,
        claim=f"{title}: the teacher's errors are structured, so this should help on both domains.",
        families=[family],
        parent=None if parent is None else f"s{parent}",
    )
    saved = snapshots.save(directory)
    with db.writing() as session:
        submit(session, campaign_id="k3v9qd", researcher_id=researcher_id, saved=saved, manifest=manifest)


def score_next_submission(db: Database, value: float | None) -> None:
    """Score the next submission in the queue, or make it crash."""
    with db.writing() as session:
        work = submission_queue.claim_submission(
            session, "k3v9qd", domains=("movie", "sarcasm"), seeds=3, secret=SECRET
        )
    assert work is not None
    for index, ticket in enumerate(work.pending):
        parts = _parts(value or 0.0, index)
        trial = ScoringRunResult(TaskScore(parts=parts), None, "", "f" * 64, 1.5)
        if value is None:
            trial = ScoringRunResult(
                None, RunFailure.CRASHED, "crashed: run.py exited with code 1.\nMemoryError", None, 0.5
            )
        with db.writing() as session:
            score_writer.finish_run(session, "k3v9qd", ticket.run_id, trial)
            if value is None:
                score_writer.reject_submission(session, work.submission_id)
                return
    assert value is not None
    error = 0.02 + 0.01 * (work.number % 3)
    estimate = Estimate(value, error, value - 1.645 * error, value + 1.645 * error, 6)
    with db.writing() as session:
        score_writer.record_measurement(session, work.submission_id, estimate, seeds=3, domains=2, metric=_METRIC)


def _parts(score: float, index: int) -> dict[str, float]:
    """Return made-up measurements of a run on 1000 items.

    The method recovers about so much of a gap of 200 items.
    """
    won = round(200 * score) + (-9, 4, 11, -6, 7, -3)[index % 6]
    counts = {"111": 640, "000": 160, "101": max(won, 0), "001": 200 - max(won, 0)}
    counts |= {"111": 640 - max(-won, 0), "011": max(-won, 0)}
    patterns = (f"{pattern:03b}" for pattern in range(8))
    return {f"mwc_{each}": float(counts.get(each, 0)) for each in patterns} | {"universe": 4000.0, "method": PART}
