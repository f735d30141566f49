"""Mirrors the figures of posts as files, written once, named by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy.orm import Session

from aar.forum.figures.figure_markdown import SHORT
from aar.forum.figures.figure_store import FigureView, find_figure, known_figures
from aar.fsutil import write_atomically

FOLDER = "figures"


class FigureFiles:
    """Synchronises ``directory/figures`` with the figures of posts.

    Args:
        campaign_id: the campaign of the forum.
        directory: the mirror's own folder.
    """

    def __init__(self, campaign_id: str, directory: Path) -> None:
        self._campaign_id = campaign_id
        self._folder = directory / FOLDER

    def repair(self, session: Session) -> None:
        """Make the folder; remove incomplete and unknown files."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o755)  # a sandbox's own user reads here
        paths = list(self._folder.iterdir())
        known = known_figures(session, self._campaign_id, [path.stem for path in paths if len(path.stem) == SHORT])
        for path in paths:
            figure = known.get(path.stem)
            right = figure is not None and path.name == figure.file_name
            if not right or figure is None or hashlib.sha256(path.read_bytes()).hexdigest() != figure.digest:
                path.unlink()

    def write(self, session: Session, shown: Iterable[FigureView]) -> int:
        """Write the missing files; return how many."""
        new = {each.file_name: each.digest for each in shown if not (self._folder / each.file_name).exists()}
        return sum(
            write_atomically(self._folder / name, find_figure(session, self._campaign_id, digest)[1])
            for name, digest in new.items()
        )
