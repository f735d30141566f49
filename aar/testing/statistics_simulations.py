"""Simulations of the statistics: coverage of the 90 % interval, refutation rates of confirmations.

Behind ``benchmarks/coverage.py``, ``benchmarks/refutations.py`` and small seeded tests.

Coverage is simulated as real splits are drawn: the items of all splits come from one universe, and each split has a
teacher, a pool and a test set of its own.

Refutations follow the scorer's own rules. A campaign measures many equally good methods, takes the best by score and
confirms them on fresh seeds. Scores are pooled from seeds of two domains as problems pool them; all decisions are made
by ``fit_variance_prior`` and ``refutes``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aar.problems.protocol import Baseline
from aar.problems.statistics import VarianceTerm, make_estimate
from aar.problems.weak_to_strong.bundles import read_hidden
from aar.problems.weak_to_strong.corpus import load_corpus
from aar.problems.weak_to_strong.pgr import count_patterns, pool_domains, read_predictions
from aar.problems.weak_to_strong.problem import WeakToStrong
from aar.problems.weak_to_strong.splits import SIZES
from aar.scoring.phases import CONFIRM
from aar.scoring.results.ranking_statistics import ScoreSample, fit_variance_prior, refutes, sample_from_estimate
from aar.testing.in_process_runs import draw_task, run_in_process

DOMAINS = 2
ITEMS = 3000
"""Test items of a domain: the degrees of freedom of a floor under the errors."""


@dataclass(frozen=True, slots=True)
class SimulatedDomain:
    """A simulated domain.

    Args:
        levels: mean accuracies of method, weak teacher and ceiling.
        spread: standard deviation of each between splits.
        alike: 0 to 1, the degree to which the same items are hard for all three.
        items: test items of a split, drawn without replacement from the universe.
        universe: rows that all splits share; itself a fresh draw in every repeat.
    """

    levels: tuple[float, float, float]
    spread: tuple[float, float, float]
    alike: float
    items: int
    universe: int

    @property
    def truth(self) -> float:
        """The PGR over all possible splits and items."""
        method, weak, ceiling = self.levels
        return (method - weak) / (ceiling - weak)

    def splits(self, k: int, rng: np.random.Generator) -> Sequence[Mapping[str, float]]:
        """Return the parts of k splits of one fresh universe."""
        from scipy.special import ndtri

        common, own = rng.standard_normal(self.universe), rng.standard_normal((3, self.universe))
        hardness = np.sqrt(self.alike) * common + np.sqrt(1 - self.alike) * own
        parts = []
        for _ in range(k):
            level = np.clip(rng.normal(self.levels, self.spread), 0.01, 0.99)
            rows = rng.permutation(self.universe)[: self.items]
            method, weak, ceiling = hardness[:, rows] < ndtri(level)[:, None]
            parts.append(count_patterns(method, weak, ceiling, self.universe, rows))
        return parts


def made_up_coverage(worlds: Mapping[str, SimulatedDomain], k: int, repeats: int, rng: np.random.Generator) -> float:
    """Return the share of repeats whose interval holds the mean truth.

    Each interval comes from k splits of each world.
    """
    truth = float(np.mean([world.truth for world in worlds.values()]))
    covered = 0
    for _ in range(repeats):
        estimate = pool_domains({name: world.splits(k, rng) for name, world in worlds.items()})
        covered += estimate.low <= truth <= estimate.high
    return covered / repeats


@dataclass(frozen=True, slots=True)
class SealedHits:
    """Correctness of method, teacher and ceiling after each training.

    Per sealed row: bool [s, rows].
    """

    method: NDArray[np.bool_]
    weak: NDArray[np.bool_]
    ceiling: NDArray[np.bool_]

    @property
    def truth(self) -> float:
        """The PGR over all trainings and rows."""
        weak = self.weak.mean()
        return float((self.method.mean() - weak) / (self.ceiling.mean() - weak))

    def splits(self, k: int, items: int, universe: int, rng: np.random.Generator) -> Sequence[Mapping[str, float]]:
        """Return the parts of k splits.

        Trainings and a universe of rows are drawn with replacement, items from it without.
        """
        rows = rng.integers(0, self.weak.shape[1], universe)
        parts = []
        for training in rng.integers(0, len(self.weak), k):
            places = rng.permutation(universe)[:items]
            method, weak, ceiling = (each[training, rows[places]] for each in (self.method, self.weak, self.ceiling))
            parts.append(count_patterns(method, weak, ceiling, universe, places))
        return parts


def collect_hits(methods: Sequence[Baseline], domain: str, trainings: int) -> dict[str, SealedHits]:
    """Run each method on so many confirmation splits of a domain.

    All rows are sealed, so none is ever trained on.
    """
    problem = WeakToStrong()
    ends: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []
    right: dict[str, list[NDArray[np.bool_]]] = {method.key: [] for method in methods}
    for training in range(trainings):
        with draw_task(problem, domain, training, CONFIRM) as task:
            hidden = read_hidden(task.hidden)
            # The test rows of every split are the same ones, each time in another order.
            order = np.argsort(hidden["test_rows"])
            labels = hidden["labels"].astype(bool)
            ends.append((hidden["weak_right"][order], hidden["ceiling_right"][order]))
            for method in methods:
                output = run_in_process(problem, method, task, training)
                judged = read_predictions(output, len(labels), problem.run_limits.output_bytes)
                right[method.key].append((judged == labels)[order])
    weak, ceiling = (np.stack(each) for each in zip(*ends, strict=True))
    return {key: SealedHits(np.stack(each), weak, ceiling) for key, each in right.items()}


def corpus_coverage(hits: Mapping[str, SealedHits], k: int, repeats: int, rng: np.random.Generator) -> float:
    """Return the share of repeats whose interval holds the truth.

    Each interval comes from k resampled measurement splits of each domain.
    """
    truth = float(np.mean([each.truth for each in hits.values()]))
    sizes = {domain: (SIZES[domain].test, len(load_corpus(domain).labels) - SIZES[domain].sealed) for domain in hits}
    covered = 0
    for _ in range(repeats):
        estimate = pool_domains({domain: each.splits(k, *sizes[domain], rng) for domain, each in hits.items()})
        covered += estimate.low <= truth <= estimate.high
    return covered / repeats


@dataclass(frozen=True, slots=True)
class SimulatedCampaign:
    """One kind of campaign.

    Args:
        seeds: of a measurement and of a confirmation, each on every domain.
        codes: different methods measured.
        noise: standard deviation of a method's score on one seed of one domain.
        floor: True if the test items' own noise, of that size, is a floor under each error, as for PGR.
        unlike: methods differ in noise: the standard deviation of its logarithm.
        confirmed: number of the best that are confirmed.
    """

    seeds: int
    codes: int
    noise: float = 0.04
    floor: bool = False
    unlike: float = 0.0
    confirmed: int = 5


def share_refuted(setting: SimulatedCampaign, campaigns: int, rng: np.random.Generator) -> float:
    """Return the share of honest campaigns with any refutation."""
    return sum(_refutes_any(setting, rng) for _ in range(campaigns)) / campaigns


def share_caught(setting: SimulatedCampaign, fall: float, campaigns: int, rng: np.random.Generator) -> float:
    """Return the share of campaigns whose overfitted winner is refuted.

    The winner's measured score is better by ``fall`` than its sealed one.
    """
    return sum(_refutes_any(setting, rng, fall) for _ in range(campaigns)) / campaigns


def _refutes_any(setting: SimulatedCampaign, rng: np.random.Generator, fall: float = 0.0) -> bool:
    noise = setting.noise * np.exp(rng.normal(0, setting.unlike, setting.codes))
    if setting.floor:
        noise = np.maximum(noise, setting.noise)
    measured = _samples(setting, noise, rng, fall)
    best = [0] if fall else np.argsort([-each.mean for each in measured])[: setting.confirmed]
    confirmed = _samples(setting, noise[best], rng)
    common = fit_variance_prior(measured)
    return any(
        refutes(measured[at], again, tries=setting.codes, checks=setting.confirmed, common=common)
        for at, again in zip(best, confirmed, strict=True)
    )


def _samples(
    setting: SimulatedCampaign, noise: NDArray[np.float64], rng: np.random.Generator, fall: float = 0.0
) -> list[ScoreSample]:
    """Return pooled scores of methods worth 0.3 each.

    The first is better by ``fall``.
    """
    seeds = setting.seeds
    scores = 0.3 + rng.normal(0, 1, (len(noise), DOMAINS, seeds)) * noise[:, None, None]
    scores[0] += fall
    samples = []
    for of_method in scores:
        between = [float(each) for each in of_method.var(axis=1, ddof=1)]
        terms = [
            VarianceTerm(setting.noise**2 / seeds, ITEMS - 1.0)
            if setting.floor and variance < setting.noise**2
            else VarianceTerm(variance / seeds, seeds - 1.0)
            for variance in between
        ]
        means = [float(mean) for mean in of_method.mean(axis=1)]
        parts = {
            f"d{at}": make_estimate(mean, [term], seeds)
            for at, (mean, term) in enumerate(zip(means, terms, strict=True))
        }
        whole = [term.scaled(1 / DOMAINS) for term in terms]
        pooled = make_estimate(float(np.mean(means)), whole, DOMAINS * seeds, parts)
        samples.append(sample_from_estimate(pooled, seeds))
    return samples
