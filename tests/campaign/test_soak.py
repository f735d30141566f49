"""A short night with bad luck: ``benchmarks/soak.py`` is the long form, and judges both."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow, pytest.mark.nightly]


def test_a_night_with_bad_luck_loses_no_money_no_work_and_nobody() -> None:
    done = subprocess.run(
        [sys.executable, str(SOAK), "--short"], capture_output=True, text=True, timeout=400, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-6000:]
    assert "FAILS" not in said
    assert re.search(r"^holds: ledger = bill \+ what is listed below: \$\d+\.\d{4} = ", said, re.MULTILINE)
    assert re.search(r"^holds: no researcher was lost: 0 of 5", said, re.MULTILINE)
