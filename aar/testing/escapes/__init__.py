"""Attempts to break out of a sandbox, as scripts that run inside and print ``GOT THROUGH`` when they did."""

from aar.testing.escapes.attempt import Escape
from aar.testing.escapes.exhaustion import EXHAUSTION
from aar.testing.escapes.privileges import PRIVILEGES
from aar.testing.escapes.reaching import REACHING
from aar.testing.escapes.reading import READING

ESCAPES = (*READING, *REACHING, *PRIVILEGES, *EXHAUSTION)
"""All scripts. What needs the host's hand is in ``aar.testing.transfer_escapes``."""

__all__ = ["ESCAPES", "EXHAUSTION", "PRIVILEGES", "REACHING", "READING", "Escape"]
