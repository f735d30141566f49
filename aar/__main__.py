"""Entry point of ``python -m aar``, the same as ``aar``."""

from aar.cli import main

main()
