"""The audit of an image finds what must not be in it; the recipes are pinned."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from importlib import resources

import pytest

from aar.errors import SetupError
from aar.sandbox.images.base_image import scan_archive
from aar.sandbox.isolation.data_leak_check import problem_data_index


def archive(**files: bytes) -> io.BytesIO:
    """A tar archive with these files."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    made.seek(0)
    return made


def test_a_clean_file_system_passes() -> None:
    assert scan_archive(archive(a=b"x" * 100, b=b"y"), {100: {"0" * 64}}) == 2


def test_a_hidden_file_is_found_under_any_name() -> None:
    data = b"label" * 100
    with pytest.raises(SetupError, match="data file"):
        scan_archive(archive(**{"usr/share/innocent": data}), {len(data): {hashlib.sha256(data).hexdigest()}})


def test_the_package_itself_is_found() -> None:
    with pytest.raises(SetupError, match="aar package"):
        scan_archive(archive(**{"opt/venv/lib/python3.11/site-packages/aar/__init__.py": b""}), {})


def test_the_data_that_ships_is_known() -> None:
    shipped = [f for f in resources.files("aar").joinpath("problems").iterdir() if f.is_dir()]
    assert shipped
    assert all(len(digest) == 64 for digests in problem_data_index().digests.values() for digest in digests)


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_every_package_of_an_image_is_pinned_with_hashes(kind: str) -> None:
    recipes = resources.files("aar.sandbox.images") / "recipes"
    text = (recipes / f"{kind}.txt").read_text()
    pins = re.split(r"\n(?=\S)", text.strip())
    assert all("==" in pin.splitlines()[0] and "--hash=sha256:" in pin for pin in pins)
    names = {pin.split("==")[0] for pin in pins}
    assert {"numpy", "scipy", "scikit-learn"} <= names
    assert ("torch" in names) == (kind == "gpu")
    assert "http" not in re.sub(r"httpcore2|httpx2", "", text)
