"""Names of sandbox images."""

from __future__ import annotations

from typing import Literal

from aar import __version__

Kind = Literal["cpu", "gpu"]
"""Kinds of images. ``cpu``: numpy, scipy, scikit-learn. ``gpu``: also PyTorch and transformers."""


def default_tag(kind: Kind) -> str:
    """Return the image tag of that kind for this version of `aar`."""
    return f"aar-sandbox-{kind}:{__version__}"
