"""Names of the scoring phases for people."""

from __future__ import annotations

from aar.problems.protocol import Stage
from aar.scoring.phases import IN_NEW_COORDINATES, PERMUTED

_LABELS = {
    str(Stage.MEASURE): "measured",
    str(Stage.CONFIRM): "confirmed, on sealed splits",
    str(Stage.TRANSFER): "on the transfer domains",
    PERMUTED.key: "teacher's labels permuted",
    IN_NEW_COORDINATES.key: "on the same sealed splits, in other coordinates",
}


def phase_label(key: str) -> str:
    """Returns the name of a phase's key."""
    if key.startswith("noise-"):
        return f"{key.removeprefix('noise-')} % of the teacher's labels corrupted"
    return _LABELS.get(key, key)
