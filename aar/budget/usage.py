"""What one model call used, as the bill counts it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call by the kinds that are priced apart.

    Args:
        input_tokens: prompt tokens that neither wrote nor read the cache.
        cache_write_5m_tokens, cache_write_1h_tokens: prompt tokens written to the cache, by lifetime.
        cache_read_tokens: prompt tokens read from the cache.
        output_tokens: everything generated, thinking included.
        server_tool_uses: web searches, which are billed each; web fetches are not.
        largest_prompt: prompt tokens of the largest single sampling pass, which decides the price tier; 0 means that
            the call was one pass, so the whole prompt decides.
    """

    input_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0
    server_tool_uses: int = 0
    largest_prompt: int = 0

    @property
    def prompt_tokens(self) -> int:
        """All prompt tokens, cached or not."""
        return self.input_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens + self.cache_read_tokens

    @property
    def total(self) -> int:
        """All tokens of all kinds."""
        return self.prompt_tokens + self.output_tokens

    @property
    def tier_tokens(self) -> int:
        """The prompt size that decides the price tier."""
        return self.largest_prompt or self.prompt_tokens


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """The usage of a whole answer, from the ``usage`` that it came with.

    Where the answer lists ``usage.iterations`` these are summed, because the tokens of a compaction are in no
    top-level figure. Cache writes of unknown lifetime count as the dearer one-hour kind.
    """
    searches = (usage.get("server_tool_use") or {}).get("web_search_requests") or 0
    return _sum([_of_pass(each) for each in usage.get("iterations") or [usage]], searches)


def _of_pass(usage: Mapping[str, Any]) -> Usage:
    written = usage.get("cache_creation_input_tokens") or 0
    created = usage.get("cache_creation") or {}
    five_minutes = created.get("ephemeral_5m_input_tokens") or 0
    return Usage(
        input_tokens=usage.get("input_tokens") or 0,
        cache_write_5m_tokens=five_minutes,
        cache_write_1h_tokens=max(written - five_minutes, created.get("ephemeral_1h_input_tokens") or 0),
        cache_read_tokens=usage.get("cache_read_input_tokens") or 0,
        output_tokens=usage.get("output_tokens") or 0,
    )


def _sum(passes: Iterable[Usage], searches: int) -> Usage:
    together = list(passes)
    return Usage(
        input_tokens=sum(each.input_tokens for each in together),
        cache_write_5m_tokens=sum(each.cache_write_5m_tokens for each in together),
        cache_write_1h_tokens=sum(each.cache_write_1h_tokens for each in together),
        cache_read_tokens=sum(each.cache_read_tokens for each in together),
        output_tokens=sum(each.output_tokens for each in together),
        server_tool_uses=searches,
        largest_prompt=max(each.prompt_tokens for each in together),
    )
