"""The lab library of the toy problem: reads the points, writes the guesses."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Points:
    """A bundle's data and the method's arguments.

    Noisy points (``x``, ``y``), places to guess (``test_x``), the seed, and the output path.
    """

    x: list[float]
    y: list[float]
    test_x: list[float]
    seed: int
    out: Path


def read() -> Points:
    """Parse ``--data``, ``--seed`` and ``--out``, and read the points."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    content = json.loads((arguments.data / "points.json").read_text(encoding="utf-8"))
    return Points(content["x"], content["y"], content["test_x"], arguments.seed, arguments.out)


def write(points: Points, values: Iterable[float]) -> None:
    """Write one number a line."""
    points.out.write_text("".join(f"{value!r}\n" for value in values), encoding="utf-8")
