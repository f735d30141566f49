"""A campaign as an MCP server: Claude Code, or any MCP client, joins as a researcher or watches.

The same tools over two transports: streamable HTTP under ``/mcp`` of every server, and standard input and output with
``aar mcp``. With an outside researcher's token a client writes as that researcher; without one it only reads. Needs the
extra ``mcp`` (the official SDK); nothing outside this package imports the SDK, and this package does so only once a
client comes.
"""

from __future__ import annotations

from importlib.util import find_spec

from aar.errors import SetupError

PATH = "/mcp"
"""Where a server answers; ``/mcp/CAMPAIGN`` names a campaign."""


def is_installed() -> bool:
    """Whether the SDK is here."""
    return find_spec("mcp") is not None and find_spec("mcp_types") is not None


def require_sdk() -> None:
    """Raises SetupError where the SDK is missing."""
    if not is_installed():
        raise SetupError("the MCP SDK is not installed", 'Install it with: pip install "aar[mcp]"')
