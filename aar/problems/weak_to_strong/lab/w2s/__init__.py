"""Building blocks for weak-to-strong methods: fast, single-threaded, numpy and scipy only.

Read a bundle with ``load``, write predictions with ``save``; everything between is optional.
"""

from .data import Arguments, Data, arguments, load, save
from .heads import Head, cross_entropy, fit_logistic, fit_loss, logit, sigmoid
from .labels import (
    auxiliary_confidence,
    blend,
    confidence,
    cross_fit,
    harden,
    knn_denoise,
    most_confident,
    noisy_channel,
    standard_logits,
    weak_logits,
    zero_shot_logits,
)
from .spaces import Space, nearest, pca, standardise, unit_rows

__all__ = [
    "Arguments",
    "Data",
    "Head",
    "Space",
    "arguments",
    "auxiliary_confidence",
    "blend",
    "confidence",
    "cross_entropy",
    "cross_fit",
    "fit_logistic",
    "fit_loss",
    "harden",
    "knn_denoise",
    "load",
    "logit",
    "most_confident",
    "nearest",
    "noisy_channel",
    "pca",
    "save",
    "sigmoid",
    "standard_logits",
    "standardise",
    "unit_rows",
    "weak_logits",
    "zero_shot_logits",
]
