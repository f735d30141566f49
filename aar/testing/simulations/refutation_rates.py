"""Refutation rates of confirmations for honest and overfitted winners, in simulated campaigns.

The campaigns follow the scorer's own rules.

A campaign measures many equally good methods, takes the best by score and confirms them on fresh seeds. Scores are
pooled from seeds of two domains as problems pool them; all decisions are made by ``fit_variance_prior`` and
``refutes``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aar.problems.statistics import VarianceTerm, make_estimate
from aar.scoring.results.ranking_statistics import ScoreSample, fit_variance_prior, refutes, sample_from_estimate

DOMAINS = 2
ITEMS = 3000
"""Test items of a domain: the degrees of freedom of a floor under the errors."""


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
    found = []
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
        found.append(sample_from_estimate(pooled, seeds))
    return found
