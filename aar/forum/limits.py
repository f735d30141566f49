"""How long texts may be: a longer one is refused with its limit, never cut."""

from __future__ import annotations

MAX_TITLE = 200
"""Most characters in a title, and in what is claimed."""
MAX_BODY = 20_000
"""Most characters in a post's body."""
MAX_COMMENT = 20_000
"""Most characters in a comment."""
MAX_REASON = 500
"""Most characters in the reason of a retraction."""
