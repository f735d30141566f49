"""Attempts to break out of a sandbox: scripts that print ``GOT THROUGH`` on success."""

from aar.redteam.escapes.escape_arena import Escape
from aar.redteam.escapes.exhaustion import EXHAUSTION
from aar.redteam.escapes.file_access import READING
from aar.redteam.escapes.network_access import REACHING
from aar.redteam.escapes.privileges import PRIVILEGES

ESCAPES = (*READING, *REACHING, *PRIVILEGES, *EXHAUSTION)
"""All scripts. Attempts by file transfer are in ``aar.redteam.escapes.transfers``."""

__all__ = ["ESCAPES", "EXHAUSTION", "PRIVILEGES", "REACHING", "READING", "Escape"]
