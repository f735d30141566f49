"""The components from which an offline researcher composes weak-to-strong methods."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Iterator

import yaml

from aar.problems.search_space import DirectionBias, Gene, GeneSearchSpace, Genome
from aar.problems.weak_to_strong.search_programs import render_program


def describe_genome(genome: Genome) -> str:
    """Return one sentence that names every component in use."""
    return ", ".join(_phrases(genome))


def _phrases(genome: Genome) -> Iterator[str]:
    source = "teacher"
    if genome["prompts"]:
        how = {"full": "", "by agreement": ", by agreement", "if agreeing": ", if agreeing"}[str(genome["trust"])]
        fitted = "fitted " if genome["elicitation"] == "fitted directions" else ""
        source = f"teacher + {genome['prompts']:g} x {fitted}prompts{how}"
    yield f"{genome['labels']} labels from {source}"
    repairs = {
        "neighbours": f"denoised by {genome['neighbours']} neighbours",
        "out-of-fold": "relabelled out of fold",
        "channel": "corrected by a noisy channel (EM)",
    }
    if genome["denoise"] in repairs:
        yield repairs[str(genome["denoise"])]
    if genome["prompts"] and genome["agreement"]:
        yield "where teacher and prompts agree"
    if genome["keep"] != 1.0:
        yield f"most confident {genome['keep']:.0%}"
    if genome["weighting"] == "confidence":
        yield "weighted by confidence"
    if genome["pca"]:
        yield f"{'whitened ' if genome['whiten'] else ''}PCA-{genome['pca']}"
    layers = str(genome["layers"])
    yield "layers 4 to 6" if layers == "4,5,6" else f"layer{'s' if ',' in layers else ''} {layers}"
    yield f"{'auxiliary-confidence ' if genome['loss'] != 'cross-entropy' else ''}head with L2 {genome['l2']:g}"
    if genome["rounds"]:
        yield f"{genome['rounds']} rounds of self-training"
    if genome["members"] != 1:
        yield f"{genome['members']} bagged heads"
    if genome["prompts"] and genome["vote"]:
        yield f"prompts vote with {genome['vote']:g}"
    if genome["smoothing"]:
        yield f"smoothed over {genome['smoothing']} test neighbours"
    if genome["threshold"] == "pool median":
        yield "threshold at the pool's median"


def genome_families(genome: Genome) -> list[str]:
    """Return the active idea families, the most characteristic first; at most four."""
    found = [
        ("unsupervised-elicitation", bool(genome["prompts"])),
        ("self-training", bool(genome["rounds"]) or genome["denoise"] == "out-of-fold"),
        ("confidence-weighting", genome["weighting"] == "confidence" or genome["denoise"] == "channel"),
        ("data-filtering", genome["keep"] != 1.0 or bool(genome["prompts"] and genome["agreement"])),
        ("model-internals", bool(genome["pca"]) or genome["layers"] != "4,5,6" or genome["denoise"] == "neighbours"),
        ("ensemble", genome["members"] != 1),
        ("loss-function", genome["loss"] != "cross-entropy"),
        ("distillation", genome["labels"] != "hard"),
    ]
    return [family for family, there in found if there][:4] or ["other"]


def genome_claim(genome: Genome) -> str:
    """Return one paragraph: the method's steps, and its expected effect."""
    return (
        f"A head on frozen states, trained on {describe_genome(genome)}. Composed by a search over components (offline "
        "search "
        "baseline, not an LLM), which expects it to score near its parent or above, and learns from the measured score."
    )


GENES = (
    Gene("layers", {"4,5,6": 5, "5,6": 1, "6": 1, "5": 1, "4": 1}),
    Gene("pca", {0: 5, 10: 1, 20: 1, 40: 1, 80: 1, 160: 1}, ordered=True),
    Gene("whiten", {False: 2, True: 1}, needs="pca", needs_not=(0,)),
    Gene("prompts", {0.0: 6, 0.25: 1, 0.5: 1, 1.0: 1, 2.0: 1}, ordered=True),
    Gene("elicitation", {"mean direction": 2, "fitted directions": 1}, needs="prompts", needs_not=(0.0,)),
    Gene("trust", {"full": 1, "by agreement": 1, "if agreeing": 1}, needs="prompts", needs_not=(0.0,)),
    Gene("labels", {"soft": 2, "sharp": 1, "hard": 1}),
    Gene("denoise", {"none": 8, "neighbours": 1, "out-of-fold": 1, "channel": 1}),
    Gene(
        "neighbours",
        {10: 1, 30: 2, 100: 1, 300: 0.5},
        ordered=True,
        needs="denoise",
        needs_not=("none", "out-of-fold", "channel"),
    ),
    Gene("keep", {1.0: 9, 0.75: 1, 0.5: 1, 0.25: 1}, ordered=True),
    Gene("agreement", {False: 6, True: 1}, needs="prompts", needs_not=(0.0,)),
    Gene("weighting", {"even": 5, "confidence": 1}),
    Gene("loss", {"cross-entropy": 8, "auxiliary confidence": 1}),
    Gene("l2", {1e-4: 1, 3e-4: 1, 1e-3: 2, 3e-3: 2, 1e-2: 2, 3e-2: 1, 1e-1: 1}, ordered=True),
    Gene("rounds", {0: 10, 1: 1, 2: 1, 3: 1}, ordered=True),
    Gene("members", {1: 10, 5: 1, 10: 1}, ordered=True),
    Gene("vote", {0.0: 4, 0.25: 1, 0.5: 1, 1.0: 1, 2.0: 1}, ordered=True, needs="prompts", needs_not=(0.0,)),
    Gene("smoothing", {0: 8, 10: 1, 30: 1}, ordered=True),
    Gene("threshold", {"zero": 1, "pool median": 6}),
)
"""Meanings of the genes, in the order in which a method uses them:

==============  ======================================================================================================
layers          layers of the student whose states are used
pca, whiten     principal components kept (0: all states), and whether each is scaled to unit variance
prompts         weight of the prompts beside the teacher's logits in the label (0: teacher alone)
elicitation     the mean direction between the classes' prompts, or a small head over the directions of each prompt pair
trust           the prompts' weight as it is, scaled by how well they agree with the teacher, or all or nothing by that
labels          soft probabilities, sharpened ones, or hard labels
denoise         repair of the labels: the neighbours' mean, out-of-fold predictions, or a noisy channel by EM
neighbours      number of neighbours in that repair
keep            share of the pool that is retained, the most confident of each class
agreement       keep only items on which teacher and prompts agree
weighting       weigh items evenly or by confidence
loss            cross-entropy, or with the auxiliary confidence term
l2              strength of the head's regularisation, on the scale of the mean loss
rounds          rounds of self-training on out-of-fold predictions
members         heads trained on bootstrap samples and averaged
vote            weight of the prompts beside the head's logits in the final prediction
smoothing       neighbours among the test items whose predictions are averaged (0: none)
threshold       where class 1 begins: at logit 0, or where the pool is split in half
==============  ======================================================================================================
"""

DIRECTION_BIASES = (
    DirectionBias(
        ("self-train", "own work", "own judgement", "pseudo", "iterat", "relabel", "bootstrap"),
        {"rounds": {0: 0.03, 2: 2}, "denoise": {"out-of-fold": 3}},
    ),
    DirectionBias(
        ("ensembl", "bagg", "committee", "many minds", "many students", "many-minds", "disagree", "vote"),
        {"members": {1: 0.03}, "layers": {"4,5,6": 2}},
    ),
    DirectionBias(
        (
            "filter",
            "select",
            "subset",
            "discard",
            "fewer",
            "worth keeping",
            "keep-less",
            "go in easily",
            "hard-to-learn",
        ),
        {"keep": {1.0: 0.03}, "agreement": {True: 2}},
    ),
    DirectionBias(
        ("curricul", "easy", "simple", "early"),
        {"keep": {1.0: 0.4}, "l2": {1e-4: 0.2, 3e-4: 0.3, 1e-2: 2, 3e-2: 2}, "rounds": {0: 0.5}},
    ),
    DirectionBias(
        ("weight", "trust", "uncertain", "confiden", "how much each", "same say", "evidence"),
        {"weighting": {"confidence": 6}},
    ),
    DirectionBias(
        ("loss", "objective", "penal", "punish", "regular", "overfit", "calibrat"),
        {"loss": {"auxiliary confidence": 6}, "l2": {1e-4: 0.2, 3e-4: 0.3, 1e-2: 1.5, 3e-2: 2, 1e-1: 2}},
    ),
    DirectionBias(
        ("noise", "noisy", "channel", "faulty", "instrument", "bayes", "posterior", "expectation", "denois"),
        {"denoise": {"none": 0.03, "channel": 3, "out-of-fold": 2}},
    ),
    DirectionBias(
        ("neighbo", "geometr", "manifold", "cluster", "graph", "density", "shape", "cloud"),
        {"denoise": {"none": 0.05, "neighbours": 8}, "smoothing": {0: 0.5}},
    ),
    DirectionBias(
        ("prompt", "zero-shot", "zero shot", "elicit", "unsupervis", "already know", "asking", "latent"),
        {"prompts": {0.0: 0.03}, "vote": {0.0: 0.5}},
    ),
    DirectionBias(
        ("represent", "layer", "intern", "subspace", "component", "probe", "feature", "activation", "look-inside"),
        {"pca": {0: 0.05}, "layers": {"4,5,6": 0.5}},
    ),
    DirectionBias(
        ("distil", "soft", "temperature", "handing-down", "one model to the next"),
        {"labels": {"soft": 3, "sharp": 3, "hard": 0.2}, "rounds": {0: 0.3}},
    ),
)

MAX_TITLE = 120
_TRIAL = """cd {directory} || exit 1
for domain in $(ls {data}); do
  timeout -k 2 90 python run.py --data {data}/$domain --seed 0 --out trial-$domain.npy \\
    || {{ echo "trial: failed on $domain"; exit 1; }}
done
python - <<'END' && echo "trial: ok"
import sys
from pathlib import Path
import numpy as np
import w2s
from w2s import fit_logistic
for folder in sorted(Path({data_literal}).iterdir()):
    data = w2s.load(folder)
    p = np.load(f"trial-{{folder.name}}.npy")
    if p.shape != (len(data.test),) or not np.isfinite(p).all():
        sys.exit(f"trial: failed: {{folder.name}}: bad output, shape {{p.shape}}")
    plain = fit_logistic(data.train, data.weak > 0.5).logits(data.test) > 0
    prompted = w2s.zero_shot_logits(data, data.test) > 0
    print(f"{{folder.name}}: {{(p > 0.5).mean():.2f}} of the predictions are class 1; a head on the plain weak labels "
          f"agrees on {{((p > 0.5) == plain).mean():.2f}}, the prompts on {{((p > 0.5) == prompted).mean():.2f}}")
END
status=$?; rm -f trial-*.npy; exit $status"""


class WeakToStrongSearchSpace(GeneSearchSpace):
    """Methods made of heads on frozen states, label sources, repairs, filters and ensembles."""

    genes = GENES
    biases = DIRECTION_BIASES

    def simplify(self, genome: Genome) -> Genome:
        """Remove the costliest component of a genome.

        The order: bagging, then self-training, then repair, then all but a few axes.
        """
        for gene, cheap in (
            ("members", 1),
            ("rounds", 0),
            ("denoise", "none"),
            ("smoothing", 0),
            ("loss", "cross-entropy"),
        ):
            if genome[gene] != cheap:
                return {**genome, gene: cheap}
        return genome if genome["pca"] in (10, 20) else {**genome, "pca": 20}

    def render(self, genome: Genome, *, parent: str | None) -> dict[str, str]:
        """Return ``run.py`` and ``method.yaml``."""
        sentence = describe_genome(genome)
        title = sentence if len(sentence) <= MAX_TITLE else sentence[: MAX_TITLE - 3] + "..."
        claim = genome_claim(genome)
        fields: dict[str, object] = {"title": title, "claim": claim, "families": genome_families(genome)}
        if parent is not None:
            fields["parent"] = parent
        manifest = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100)
        return {"run.py": render_program(genome, title, textwrap.fill(claim, 100)), "method.yaml": manifest}

    def describe(self, genome: Genome) -> str:
        """Return the components in one sentence."""
        return describe_genome(genome)

    def trial(self, directory: str, research_data: str) -> str:
        """Return a command that runs the method on every research domain.

        It compares the predictions with other guesses.
        """
        return _TRIAL.format(
            directory=shlex.quote(directory), data=shlex.quote(research_data), data_literal=json.dumps(research_data)
        )
