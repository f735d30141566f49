"""Class prompts per domain, as a person would ask the student.

Their embeddings ship next to the texts' own, so that zero-shot elicitation needs no encoder in the sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True, slots=True)
class ClassPrompts:
    """Class names and phrasings of one domain.

    Index 0 and 1 are the classes; phrasings pair up by position.
    """

    names: tuple[str, str]
    phrasings: tuple[tuple[str, ...], tuple[str, ...]]


def load_prompts() -> dict[str, ClassPrompts]:
    """Return the prompts of every domain, from ``prompts.yaml`` beside this file."""
    loaded = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {
        domain: ClassPrompts(
            names=(entry["names"][0], entry["names"][1]),
            phrasings=(tuple(entry["phrasings"][0]), tuple(entry["phrasings"][1])),
        )
        for domain, entry in loaded.items()
    }


PROMPTS = load_prompts()
