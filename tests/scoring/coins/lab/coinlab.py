"""What a method of this problem may import."""

import argparse
from pathlib import Path

import numpy as np


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def noisy(given):
    return np.load(given.data / "noisy.npy")
