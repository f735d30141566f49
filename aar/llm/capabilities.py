"""Model capabilities beyond plain messages, from the service or the model's name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import structlog

from aar.errors import KeyRefused
from aar.llm.api_errors import shorten_line, unreachable_error

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

log = structlog.get_logger(__name__)

_ASK_SECONDS = 10.0
_NAME = re.compile(r"claude-(?:(?P<family>[a-z]+)-)?(?P<major>\d+)(?:-(?P<minor>\d)(?!\d))?")


@dataclass(frozen=True, slots=True)
class ModelCapabilities:
    """The capabilities of a model.

    Args:
        adaptive_thinking: it decides itself how much to think.
        clear_tool_uses: the service drops old tool results from the context (``clear_tool_uses_20250919``).
        compaction: the service summarises an old context (``compact_20260112``).
        images: it reads images.
        effort: its amount of thinking can be set.
        max_tokens: longest reply, in tokens; None if unknown.
    """

    adaptive_thinking: bool = False
    clear_tool_uses: bool = False
    compaction: bool = False
    images: bool = False
    effort: bool = False
    max_tokens: int | None = None


NO_CAPABILITIES = ModelCapabilities()
"""The capabilities of an unknown model: those of every server that speaks the Messages API."""


def capabilities_by_name(model: str) -> ModelCapabilities:
    """Return the capabilities by the name of a Claude model.

    ``NO_CAPABILITIES`` for any other name.

    Context editing came with the fourth generation; adaptive thinking and compaction came with 4.6.
    """
    match = _NAME.search(model)
    if match is None:
        return NO_CAPABILITIES
    version = (int(match["major"]), int(match["minor"] or 0))
    late = version >= (4, 6)
    return ModelCapabilities(
        adaptive_thinking=late, clear_tool_uses=version >= (4, 0), compaction=late, images=True, effort=late
    )


async def query_capabilities(client: AsyncAnthropic, model: str, shown: str) -> ModelCapabilities:
    """Query a model's capabilities (``GET /v1/models/<id>``); ``NO_CAPABILITIES`` without such an address.

    Args:
        shown: the service, for people.

    Raises:
        KeyRefused: the key is wrong.
        ServiceUnreachable: no server answers at the address.
    """
    import anthropic
    import httpx2

    try:
        with anyio.fail_after(_ASK_SECONDS):
            info = await client.models.retrieve(model)
    except anthropic.AuthenticationError as error:
        raise KeyRefused(
            f"the service answered 401: {shorten_line(error.message)}", "Check ANTHROPIC_API_KEY"
        ) from error
    except (anthropic.APIError, TimeoutError, ValueError) as error:  # no JSON is a ValueError
        if isinstance(error.__cause__, (httpx2.ConnectError, httpx2.ConnectTimeout)):
            raise unreachable_error(shown).error from error
        log.info("the service does not report the model's capabilities", model=model, error=type(error).__name__)
        return NO_CAPABILITIES
    return _parse_capabilities(info)


def _parse_capabilities(info: Any) -> ModelCapabilities:
    """Parse the capabilities in a response.

    The SDK checks none, and gateways answer with pages, lists or half of it: a missing capability counts as absent.
    """

    def can(*steps: str) -> bool:
        part = getattr(info, "capabilities", None)
        for step in steps:
            part = getattr(part, step, None)
        return getattr(part, "supported", None) is True

    most = getattr(info, "max_tokens", None)
    return ModelCapabilities(
        adaptive_thinking=can("thinking", "types", "adaptive"),
        clear_tool_uses=can("context_management", "clear_tool_uses_20250919"),
        compaction=can("context_management", "compact_20260112"),
        images=can("image_input"),
        effort=can("effort"),
        max_tokens=most if type(most) is int and most > 0 else None,
    )
