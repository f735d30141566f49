"""Fetches the pages' libraries for ``scripts/vendor``: ``npm pack``, check of every hash, installation."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import yaml

VENDOR = Path(__file__).parents[1] / "aar" / "web" / "static" / "vendor"


def packed(package: dict[str, Any], into: Path) -> Path:
    """Download the package as npm publishes it."""
    command = ["npm", "pack", "--silent", "--ignore-scripts", f"{package['name']}@{package['version']}"]
    said = subprocess.run(command, cwd=into, stdout=subprocess.PIPE, text=True, check=True).stdout
    return into / said.split()[-1]


def mistakes(package: dict[str, Any], archive: Path) -> list[str]:
    """Return differences between a package and the manifest."""
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    name = f"{package['name']} {package['version']}"
    wrong = [] if found == package["integrity"] else [f"{name}: integrity is {found}"]
    with tarfile.open(archive) as opened:
        for target, file in package["files"].items():
            held = opened.extractfile(f"package/{file['from']}")
            content = held.read() if held is not None else b""
            digest = hashlib.sha256(content).hexdigest()
            wrong += [] if digest == file["sha256"] else [f"{name}: the SHA-256 of {file['from']} is {digest}"]
            (archive.parent / target).write_bytes(content)
    return wrong


def main() -> None:
    packages = yaml.safe_load((VENDOR / "manifest.yaml").read_text(encoding="utf-8"))["packages"]
    with tempfile.TemporaryDirectory() as scratch:
        wrong = [each for package in packages for each in mistakes(package, packed(package, Path(scratch)))]
        if wrong:
            sys.exit("Nothing was written:\n" + "\n".join(wrong))
        for target in (target for package in packages for target in package["files"]):
            (VENDOR / target).write_bytes((Path(scratch) / target).read_bytes())
            print(target)


if __name__ == "__main__":
    main()
