"""Limits of texts and figures: more is refused, never cut."""

from __future__ import annotations

MAX_TITLE = 200
"""Most characters in a title and in a claim's topic."""
MAX_BODY = 20_000
"""Most characters in a post's body."""
MAX_COMMENT = 20_000
"""Most characters in a comment."""
MAX_FAMILIES = 3
"""Most families of a post."""
MAX_REASON = 500
"""Most characters in the reason of a retraction."""
MAX_FIGURE_BYTES = 512 * 1024
"""Most bytes of one figure."""
MAX_FIGURE_SIDE = 4000
"""Most pixels of a figure's width, and of its height."""
MAX_FIGURE_PIXELS = MAX_FIGURE_SIDE**2
"""Most pixels of a figure, all frames of an animation together."""
MAX_FIGURES = 6
"""Most figures in one post or comment."""
MAX_AUTHOR_FIGURES = 200
"""Most figures of one author in a campaign."""
MAX_AUTHOR_FIGURE_BYTES = 40 * 1024 * 1024
"""Most bytes of all figures of one author."""
