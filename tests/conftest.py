"""Every worker has an `aar` home of its own: no test sees a person's campaigns, or another worker's sandboxes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

_HOMES: list[Path] = []


def pytest_configure(config: pytest.Config) -> None:
    home = Path(tempfile.mkdtemp(prefix="aar-tests-"))
    _HOMES.append(home)
    os.environ["AAR_HOME"] = str(home)
    os.environ.pop("ANTHROPIC_API_KEY", None)


def pytest_unconfigure(config: pytest.Config) -> None:
    for home in _HOMES:
        shutil.rmtree(home, ignore_errors=True)
