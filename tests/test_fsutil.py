"""Trees that no path reaches and no recursion survives are removed; what is mounted or linked in them stays."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aar.errors import SandboxError
from aar.fsutil import MAX_LEVELS, prune_deep_tree, remove_tree, temporary_folder
from aar.sandbox import workspaces

NOBODY = 65534


def nest(top: Path, names: list[str]) -> None:
    """Make folders in each other, with a file in each, whatever the length of their path."""
    top.mkdir(exist_ok=True)
    folder = os.open(top, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=folder)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        below = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)


@contextmanager
def open_files(most: int) -> Iterator[None]:
    """A limit of open files for as long as the block lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    in_use = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "names", [["d"] * 1500, ["x" * 250] * 24, ["é" * 120] * 60], ids=["1500 levels", "6000 bytes", "accents"]
)
def test_depth_and_length_cost_no_descriptors(tmp_path: Path, names: list[str]) -> None:
    nest(tmp_path / "tree", names)
    with open_files(12):
        remove_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_many_branches_modes_and_kinds(tmp_path: Path) -> None:
    top, outside = tmp_path / "tree", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    for branch in range(30):
        nest(top / f"b{branch}" if branch else top, [str(branch)] * 5)
    (top / "link").symlink_to(outside)
    (top / "b1" / "loop").symlink_to("loop")
    os.mkfifo(top / "b1" / "pipe")
    (top / "b2" / "\n\t strange").mkdir()
    os.close(os.open(os.fsencode(top) + b"/b2/\xff\xfe", os.O_CREAT))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(top / "b2" / "socket"))
    for folder in (top / "b3", top / "b3" / "3", top):
        folder.chmod(0)
    remove_tree(top)
    remove_tree(top)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "kept").read_text() == "kept"


def test_a_link_is_removed_and_not_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    remove_tree(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["real"]


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user, which needs root")
def test_a_plain_user_gets_into_own_closed_folders(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o711)
    code = (
        "import ctypes, os, pathlib, sys\n"
        "from aar.fsutil import remove_tree\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "ctypes.CDLL(None).prctl(4, 1)\n"  # PR_SET_DUMPABLE: /proc/self is readable again, as for whoever logged in so
        "top = pathlib.Path(sys.argv[1])\n"
        "for name in ('a/b/c', 'a/d', 'e/f'):\n"
        "    (top / name).mkdir(parents=True)\n"
        "    (top / name / 'file').write_text('')\n"
        "for name in ('a/b/c', 'a/b', 'a/d', 'a', 'e', ''):\n"
        "    (top / name).chmod(0)\n"
        "remove_tree(top)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(place / "tree")], check=True)
    assert list(place.iterdir()) == []


@pytest.mark.skipif(not workspaces.can_mount(), reason="mounting needs root")
def test_a_mount_is_never_entered_and_the_rest_goes(tmp_path: Path) -> None:
    shown, top = tmp_path / "shown", tmp_path / "tree"
    nest(shown, ["precious"])
    nest(top, ["a", "b", "c"])
    nest(top / "other", ["d"])
    # A bind mount has the same device as what is around it.
    subprocess.run(["mount", "--bind", str(shown), str(top / "a" / "b")], check=True)
    try:
        with pytest.raises(SandboxError, match="cannot be removed"):
            remove_tree(top)
        with pytest.raises(SandboxError, match="cannot be removed"):
            remove_tree(top / "a" / "b")
        assert sorted(path.name for path in shown.iterdir()) == ["file", "precious"]
        assert not (top / "other").exists()
    finally:
        subprocess.run(["umount", str(shown.parent / "tree" / "a" / "b")], check=True)
    remove_tree(top)
    assert [path.name for path in tmp_path.iterdir()] == ["shown"]


def test_what_nests_too_deep_is_cut_and_the_rest_stays(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    nest(top, ["d"] * 1500)
    nest(top / "long", ["x" * 250] * 24)
    nest(top / "fine", ["d"] * (MAX_LEVELS - 2))
    assert prune_deep_tree(top) == 2
    assert prune_deep_tree(top) == 0
    depths = [len(path.relative_to(top).parts) for path in top.rglob("*") if path.is_dir()]
    assert max(depths) == MAX_LEVELS - 1
    assert max(len(str(path.relative_to(top))) for path in top.rglob("*")) < 2048
    deepest = top.joinpath("fine", *["d"] * (MAX_LEVELS - 2))
    assert deepest.is_dir()
    assert (deepest.parent / "file").is_file()


def test_a_scratch_folder_is_removed_whatever_is_in_it() -> None:
    with temporary_folder("aar-test-") as folder:
        nest(folder / "deep", ["d"] * 1500)
    assert not folder.exists()
