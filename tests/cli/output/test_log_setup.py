"""A log that cannot be written ends nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from aar.cli.output import log_setup
from aar.cli.output.log_setup import configure_logging


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that has never room")
def test_a_log_on_a_full_disk_loses_its_lines_and_nothing_else() -> None:
    done = False
    with configure_logging(Path("/dev/full"), "info"):
        for _ in range(300):
            structlog.get_logger("test").warning("a line that has no room", more="x" * 100)
            logging.getLogger("test").warning("neither has this one")
        done = True
    assert done


def test_lines_that_have_room_are_written_and_a_closed_stream_is_let_go_of(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "controller.log"
    with configure_logging(file, "info"):
        structlog.get_logger("test").warning("told")
    assert "told" in file.read_text()
    with file.open("a") as closed:
        log_setup._configure(closed, logging.INFO)
    structlog.get_logger("test").warning("nobody listens")
