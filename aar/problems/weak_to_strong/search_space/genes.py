"""The genes of weak-to-strong methods, and the biases of directions' words."""

from __future__ import annotations

from aar.problems.search_space.genes import DirectionBias, Gene, GenePool

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

GENE_POOL = GenePool(GENES, DIRECTION_BIASES)
