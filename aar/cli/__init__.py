"""The entry point of the command line ``aar``.

Commands parse, call and render; they decide nothing. The module of a command is imported when that command
runs, so that ``aar --help`` and shell completion stay quick.
"""

from __future__ import annotations

import sys

from aar.cli.output import streams
from aar.redaction import install_excepthook


def main() -> None:
    """Run the command line."""
    streams.prepare_streams()
    install_excepthook()
    from aar.cli.app import app  # once the streams can take its errors

    try:
        app(prog_name="aar")
    except SystemExit as done:
        sys.exit(streams.finish_output(done.code))
