"""Measures the forum and the pages in one run, some minutes long.

Run: python benchmarks/web.py [--quick]

The forum over HTTP is compared with a plain Flask forum (see ``forum_http.py``), then the pages of a night's campaign,
how soon an event is on the screen, and what a hundred watchers cost (see ``pages.py``, which needs Debian's Chromium).

Flask: uv pip install flask waitress
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from forum_http import SIZES, compared
from pages import tables
from rich.console import Console


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a small forum and campaign, to see that all of it runs")
    quick = parser.parse_args().quick
    console = Console(width=140)
    console.print(compared(SIZES[:1] if quick else SIZES))
    with tempfile.TemporaryDirectory() as home:
        events, times, seconds = (5_000, 5, 5) if quick else (50_000, 30, 30)
        for table in tables(Path(home), events=events, times=times, watchers=100, seconds=seconds):
            console.print(table)


if __name__ == "__main__":
    main()
