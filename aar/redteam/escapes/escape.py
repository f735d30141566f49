"""One attempt to break out of a sandbox, as a script that runs inside.

It prints a mark if it got through.

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
        goal: its aim, in one clause.
        script: Python that runs inside; prints ``GOT THROUGH ...`` on success.
        seconds: its time limit; a script that reaches it has failed.
    """

    name: str
    goal: str
    script: str
    seconds: float = 60.0
