"""The example of docs/messages-double.md runs, and prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import aar.testing.fake_messages_api as front

PAGE = Path(__file__).parents[3] / "docs" / "messages-double.md"


def test_the_example_runs() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (printed,) = re.findall(r"^prints `(.*)`\.$", text, re.MULTILINE)
    ran = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == printed


def test_every_public_name_exists() -> None:
    assert len(set(front.__all__)) == len(front.__all__)
    assert all(hasattr(front, name) for name in front.__all__)
