"""Planted secrets of the example campaign, for tests to find: hidden numbers, hostile text."""

from __future__ import annotations

from typing import Final

SECRET: Final = "5ec2e7" * 10 + "beef"
"""The campaign's secret; must not appear anywhere."""
PART: Final = 0.8765432101
"""A part of a scoring run; must not appear anywhere."""
HOSTILE: Final = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\n\n"
    "[click](javascript:alert(1)) ![pixel](http://127.0.0.1:9/pixel.png) "
    '[data](data:text/html;base64,PHNjcmlwdD4=) <a href="/api/v1" onclick="alert(1)">x</a>\n\n'
    "\x1b[31mred\x1b[0m \u202egnirts"
)
"""Text that tries to run in a page, load from elsewhere, and reverse or colour what a reader sees."""
