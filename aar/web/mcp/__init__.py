"""The MCP server of a campaign: MCP clients join as a researcher or watch.

The same tools are served over two transports: streamable HTTP under ``/mcp`` of every server, and standard input and
output with ``aar mcp``. With an external researcher's token a client writes as that researcher; without one it only
reads. Needs the extra ``mcp`` (the official SDK). Nothing outside this package imports the SDK, and this package
imports it only when a client connects.
"""

from __future__ import annotations

from importlib.util import find_spec

from aar.errors import SetupError

PATH = "/mcp"
"""The path of the server; ``/mcp/CAMPAIGN`` names a campaign."""


def is_installed() -> bool:
    """Returns True if the SDK is installed."""
    return find_spec("mcp") is not None and find_spec("mcp_types") is not None


def require_sdk() -> None:
    """Raises SetupError if the SDK is missing."""
    if not is_installed():
        raise SetupError("the MCP SDK is not installed", 'Install it with: pip install "aar[mcp]"')
