"""Normalises model ids as Anthropic, Bedrock and Vertex spell them."""

from __future__ import annotations

import re

BEDROCK = re.compile(r"^(?:(?P<region>[a-z]{2,6}(?:-[a-z]+)?)\.)?anthropic\.(?P<name>claude-.+?)(?:-v\d+)?(?::\d+)?$")
VERTEX = re.compile(r"^(?P<name>claude-[^@]+)@(?P<version>\d{8}|default|latest)$")
DATE = re.compile(r"-\d{8}$")


def plain_name(model: str) -> str:
    """Return the id without provider, region, version and date.

    Replies may use a longer name than the request.
    """
    spelled = BEDROCK.match(model) or VERTEX.match(model)
    return DATE.sub("", spelled["name"] if spelled is not None else model)


def is_first_party(model: str) -> bool:
    """Return whether an id has the spelling of Anthropic's own service."""
    return model.startswith("claude-") and VERTEX.match(model) is None
