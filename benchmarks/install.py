"""Measures a base install: seconds, megabytes, and the time of ``aar --help``.

Run: python benchmarks/install.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
HELPS = 7


def main() -> None:
    """Make an environment, install, measure, print, and leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="aar-install-") as folder:
        python = Path(folder, "venv", "bin", "python")
        subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
        empty = _megabytes(python.parent.parent)
        started = time.perf_counter()
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", str(REPOSITORY)], check=True)
        print(f"pip install of the base package: {time.perf_counter() - started:.0f} s")
        print(f"size: {_megabytes(python.parent.parent) - empty:.0f} MB beyond an empty environment")
        times = [_help(python.with_name("aar")) for _ in range(HELPS)]
        print(f"aar --help: median {statistics.median(times[1:]):.2f} s, first {times[0]:.2f} s")


def _help(program: Path) -> float:
    started = time.perf_counter()
    subprocess.run([program, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _megabytes(folder: Path) -> float:
    total = 0
    for place, _, names in os.walk(folder):
        total += sum(Path(place, name).lstat().st_size for name in names)
    return total / 1e6


if __name__ == "__main__":
    main()
