"""The command line of ``aar``: its entry point. Commands parse, call and render; they decide nothing.

Commands import what they need when they run, so that ``aar --help`` and shell completion stay quick.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    from aar.cli.output import streams
    from aar.redaction import install_excepthook

    streams.prepare_streams()
    install_excepthook()
    from aar.cli.app import app

    try:
        app(prog_name="aar")
    except SystemExit as done:
        sys.exit(streams.finish_output(done.code))
