"""The report of a campaign: charts, comparison, and one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
"""The style sheets that the report and the pages share."""
