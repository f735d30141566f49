"""Exports a researcher's transcript as an Inspect log for ``inspect view``.

Needs the extra ``inspect``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sqlalchemy.orm import Session

from aar.errors import SetupError, UsageError

_FORMS = (".eval", ".json")


def write_inspect_log(session: Session, researcher_id: str, path: Path) -> Path:
    """Writes a researcher's conversation, usage and scores as a log; returns the file.

    The log has one sample.

    The log is built from Inspect's own models and written by its own writer, so that it is what the installed version
    of Inspect reads.

    Args:
        path: a file that ends in ``.eval`` (compressed) or ``.json``; replaced if it exists.

    Raises:
        SetupError: Inspect is not installed, or the file cannot be written.
        UsageError: another ending.
    """
    if path.suffix not in _FORMS:
        raise UsageError(f"invalid name for an Inspect log: {path.name}", f"End it in {' or '.join(_FORMS)}")
    if importlib.util.find_spec("inspect_ai") is None:
        raise SetupError("Inspect is not installed", 'Install it with: pip install "aar[inspect]"')
    from aar.report.inspect_log import build_log, write_log

    log = build_log(session, researcher_id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_log(log, path)
    except OSError as error:
        raise SetupError(
            f"cannot write {path}: {error.strerror or error}", "Name a file in a folder of yours"
        ) from error
    return path
