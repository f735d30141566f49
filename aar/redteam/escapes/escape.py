"""One attempt to break out of a sandbox: a script that runs inside and tells when it got through.

Words between @ signs are filled in by the arena: the place and the text of a secret on the host, another sandbox's
workspace, a port of the host that listens.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Escape:
    """One attempt.

    Args:
        name: short, for tables and test ids.
        goal: what it tries to do, in one clause.
        script: Python that runs inside; prints ``GOT THROUGH ...`` on success.
        seconds: its time limit; running into it is no success.
    """

    name: str
    goal: str
    script: str
    seconds: float = 60.0
