"""Renders a genome as a readable program with only the components that it uses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aar.problems.search_space import Genome

OPENING = '''"""{title}

{claim}

Composed by aar's offline search baseline, not by an LLM.
"""

import numpy as np
import w2s

GENOME = {{
{genes}
}}


def train_head(x, labels, weights, rng):
    """The head on one set of labels: float32 states [n, d], labels [n] in [0, 1], weights [n]."""
{fit}


def main():
    args = w2s.arguments()
    rng = np.random.default_rng(args.seed)
    data = w2s.load(args.data)

{body}


if __name__ == "__main__":
    main()
'''

MEMBERS = """    heads = []
    for _ in range({members}):
        drawn = rng.integers(0, len(x), len(x))
{fit}
        heads.append(head)
    # The mean of linear heads' logits is the logit of their geometric mean.
    return lambda states: np.mean([head.logits(states) for head in heads], axis=0)"""


def render_program(genome: Genome, title: str, claim: str) -> str:
    """Return the text of ``run.py``, with the genome as the literal ``GENOME``."""
    genes = "\n".join(f'    "{name}": {value!r},' for name, value in genome.items())
    body = "\n".join(f"    {line}" if line else "" for line in _body(genome))
    return OPENING.format(title=title, claim=claim, genes=genes, fit=_fit(genome), body=body)


def _fit(genome: Genome) -> str:
    fit = [f"head = w2s.fit_logistic(x, labels, l2={genome['l2']}, weights=weights)"]
    if genome["loss"] == "auxiliary confidence":
        fit.append(f"head = w2s.auxiliary_confidence(x, labels, l2={genome['l2']}, start=head)")
    if genome["members"] == 1:
        return "\n".join(f"    {line}" for line in [*fit, "return head.logits"])
    drawn = [re.sub(r"\b(x|labels|weights)(?=[,)])", r"\1[drawn]", line) for line in fit]
    return MEMBERS.format(members=genome["members"], fit="\n".join(f"        {line}" for line in drawn))


def _body(genome: Genome) -> Iterator[str]:
    yield from _representation(genome)
    yield from _labels(genome)
    yield from _repair(genome)
    yield from _selection(genome)
    yield from _training(genome)
    yield from _prediction(genome)


def _representation(genome: Genome) -> Iterator[str]:
    yield "# Representation"
    yield f"columns = data.columns([{str(genome['layers']).replace(',', ', ')}])"
    yield "train, test = data.train[:, columns], data.test[:, columns]"
    if genome["pca"]:
        whiten = ", whiten=True" if genome["whiten"] else ""
        yield f"space = w2s.pca(train, {genome['pca']}{whiten})"
        yield "train, test = space(train), space(test)"
    yield ""


def _labels(genome: Genome) -> Iterator[str]:
    yield "# Labels"
    if not genome["prompts"]:
        yield "labels = data.weak"
        return
    yield "prompted, prompted_test = w2s.zero_shot_logits(data, data.train), w2s.zero_shot_logits(data, data.test)"
    if genome["trust"] != "full":
        yield "# Prompts that disagree with the teacher are about something else."
        yield "agreement = float(np.corrcoef(prompted, w2s.weak_logits(data))[0, 1])"
        scaled = "float(np.clip(agreement / 0.25, 0, 1))"
        yield f"trust = {scaled if genome['trust'] == 'by agreement' else 'float(agreement > 0.2)'}"
    if genome["elicitation"] == "fitted directions":
        yield "pairs = range(data.prompts.shape[1])"
        yield "views, views_test = ("
        yield "    np.stack([w2s.zero_shot_logits(data, x, phrasings=[pair]) for pair in pairs], axis=1)"
        yield "    for x in (data.train, data.test)"
        yield ")"
        yield "asked = w2s.fit_logistic(views, w2s.harden(data.weak), l2=0.01)"
        yield "centre, spread = np.median(asked.logits(views)), asked.logits(views).std()"
        yield "prompted, prompted_test = ((asked.logits(view) - centre) / spread for view in (views, views_test))"
    weight = genome["prompts"] if genome["trust"] == "full" else f"{genome['prompts']} * trust"
    yield f"labels = w2s.blend((w2s.weak_logits(data), 1.0), (prompted, {weight}))"


def _repair(genome: Genome) -> Iterator[str]:
    if genome["denoise"] == "neighbours":
        yield f"labels = w2s.knn_denoise(train, labels, k={genome['neighbours']}, self_share=0.2)"
    elif genome["denoise"] == "out-of-fold":
        yield f"labels = w2s.sigmoid(w2s.cross_fit(train, labels, rng=rng, l2={genome['l2']}))"
    elif genome["denoise"] == "channel":
        yield f"labels = w2s.noisy_channel(train, labels, rng=rng, rounds=3, l2={genome['l2']})"
    if genome["denoise"] != "none":
        yield "# A repaired label may lean to one class: centre it, and give it back its spread."
        yield "labels = w2s.blend((w2s.logit(labels), 1.0))"


def _selection(genome: Genome) -> Iterator[str]:
    yield ""
    yield "# Which items count, and how much"
    yield "trusted = np.arange(len(labels))"
    if genome["prompts"] and genome["agreement"]:
        yield "trusted = np.flatnonzero((data.weak > 0.5) == (prompted > 0))"
    if genome["keep"] != 1.0:
        yield f"trusted = trusted[w2s.most_confident(labels[trusted], {genome['keep']})]"
    if genome["weighting"] == "confidence":
        yield "weights = w2s.confidence(labels) + 0.05"
    else:
        yield "weights = np.ones(len(labels), dtype=np.float32)"
    if genome["labels"] == "hard":
        yield "labels = w2s.harden(labels)"
    elif genome["labels"] == "sharp":
        yield "labels = w2s.sigmoid(3.0 * w2s.logit(labels))"
    yield ""


def _training(genome: Genome) -> Iterator[str]:
    yield "# Training"
    if genome["rounds"]:
        yield f"for _ in range({genome['rounds']}):"
        yield "    # Every item is judged by a head that never saw its label."
        yield "    judged = np.empty(len(labels), dtype=np.float32)"
        yield "    for held in np.array_split(rng.permutation(len(labels)), 3):"
        yield "        kept = np.setdiff1d(trusted, held)"
        yield "        judged[held] = train_head(train[kept], labels[kept], weights[kept], rng)(train[held])"
        own = "w2s.harden(w2s.sigmoid(judged), share=0.5)" if genome["labels"] == "hard" else "w2s.blend((judged, 1.5))"
        yield f"    labels = 0.5 * labels + 0.5 * {own}"
    yield "head = train_head(train[trusted], labels[trusted], weights[trusted], rng)"
    yield ""


def _prediction(genome: Genome) -> Iterator[str]:
    yield "# Prediction"
    yield "pool_logits, logits = head(train), head(test)"
    if genome["smoothing"]:
        yield f"around = w2s.nearest(test, test, {genome['smoothing']}, skip_self=True)"
        yield "logits = 0.5 * logits + 0.5 * logits[around].mean(axis=1)"
    if genome["prompts"] and genome["vote"]:
        yield "# The head's spread on the pool makes its logits and the prompts' comparable."
        share = genome["vote"] if genome["trust"] == "full" else f"{genome['vote']} * trust"
        yield f"share = {share} * float(pool_logits.std())"
        yield "pool_logits, logits = pool_logits + share * prompted, logits + share * prompted_test"
    if genome["threshold"] == "pool median":
        yield "# The classes are balanced, whatever the teacher leans to."
        yield "logits = logits - np.median(pool_logits)"
    yield "w2s.save(w2s.sigmoid(logits), args.out)"
