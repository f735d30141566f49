"""What one model call used, as the bill counts it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anthropic.types import Message
    from anthropic.types.beta import BetaMessage


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


def usage_of(message: Message | BetaMessage) -> Usage:
    """The usage of a whole answer.

    Where the answer lists ``usage.iterations`` these are summed, because the tokens of a compaction are in no
    top-level figure. Cache writes of unknown lifetime count as the dearer one-hour kind.
    """
    usage = message.usage
    searches = usage.server_tool_use.web_search_requests if usage.server_tool_use else 0
    iterations = getattr(usage, "iterations", None)
    passes = [_of_pass(each) for each in iterations] if iterations else [_of_pass(usage)]
    return _sum(passes, searches or 0)


def _of_pass(usage: Any) -> Usage:
    written = usage.cache_creation_input_tokens or 0
    five_minutes = usage.cache_creation.ephemeral_5m_input_tokens or 0 if usage.cache_creation else 0
    return Usage(
        input_tokens=usage.input_tokens or 0,
        cache_write_5m_tokens=five_minutes,
        cache_write_1h_tokens=max(
            written - five_minutes, usage.cache_creation.ephemeral_1h_input_tokens or 0 if usage.cache_creation else 0
        ),
        cache_read_tokens=usage.cache_read_input_tokens or 0,
        output_tokens=usage.output_tokens or 0,
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
