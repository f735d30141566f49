"""What a campaign found, for people: figures, labels, and one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
"""Style sheets that the report and the pages share."""
