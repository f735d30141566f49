"""Warm sandboxes made by bubblewrap."""

from __future__ import annotations

import pytest

from .warm_suite import WarmSuite

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]


class TestBubblewrap(WarmSuite):
    """The fixture ``backend`` of this folder is bubblewrap's."""
