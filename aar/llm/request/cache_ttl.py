"""Chooses a prompt cache's lifetime: five minutes, or an hour with dearer writes.

Relative to plain input, a write costs 1.25 for five minutes and 2 for an hour, a read 0.1 at most (Anthropic's price
list). When ``new`` tokens are added at each turn to a prompt of ``prompt`` tokens, and a share p of the turns comes
later than five minutes after the one before, an hour pays as soon as the rewrites that it saves cost more than its
dearer writes::

    p (1.25 - 0.1) prompt > (2 - 1.25) new

p is estimated from the gaps so far, with half a long gap in fifty turns as prior.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

CacheLifetime = Literal["5m", "1h"]

_SHORT_SECONDS = 300.0
_LONG_SECONDS = 3600.0
_REWRITE = 1.25 - 0.1
_DEARER = 2.0 - 1.25
_PRIOR_LONG, _PRIOR_TURNS = 0.5, 50.0


@dataclass(slots=True)
class CacheTtlPolicy:
    """Chooses the lifetime from the pauses between a researcher's calls under this controller.

    Args:
        clock: seconds, for tests.
    """

    clock: Callable[[], float] = monotonic
    _gaps: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    _last: float | None = None

    def record_call(self) -> None:
        """Record the start of a call: a cache entry lives from its last use."""
        now = self.clock()
        if self._last is not None:
            self._gaps.append(now - self._last)
        self._last = now

    def choose_lifetime(self, prompt_tokens: int, new_tokens: int) -> CacheLifetime:
        """Return the cheaper lifetime for the next call's cache entries.

        Args:
            prompt_tokens: of the whole prompt.
            new_tokens: those that a turn adds to it.
        """
        # A gap of over an hour outlives both.
        late = sum(_SHORT_SECONDS < gap <= _LONG_SECONDS for gap in self._gaps)
        share = (late + _PRIOR_LONG) / (len(self._gaps) + _PRIOR_TURNS)
        return "1h" if share * _REWRITE * prompt_tokens > _DEARER * max(new_tokens, 1) else "5m"
