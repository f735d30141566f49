"""The command line: parse, call, render. Nothing is decided here.

Commands import what they need when they run, so that ``aar --help`` and shell completion stay quick.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of ``aar``."""
    from aar.cli.app import app
    from aar.redaction import install_excepthook

    install_excepthook()
    app(prog_name="aar")
