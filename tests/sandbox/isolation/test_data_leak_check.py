"""Hidden data is in no sandbox, wherever `aar` is installed and whatever copies of it lie around."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from importlib import resources
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest

from aar.errors import SandboxUnavailable
from aar.sandbox.bubblewrap.python_mounts import hidden_folders
from aar.sandbox.isolation.data_leak_check import check_visible_folders, problem_data_index
from aar.sandbox.protocol import Mount, SandboxBackend, SandboxSpec
from tests.sandbox.conftest import need

_PACKAGE = Path(str(resources.files("aar")))
_DATA = min((_PACKAGE / "problems" / "weak_to_strong" / "data").glob("*.json.gz"), key=lambda path: path.stat().st_size)

_SANDBOX = """
import asyncio, pathlib, sys
import aar
assert aar.__file__.startswith(sys.argv[1]), aar.__file__
from aar.errors import SandboxUnavailable
from aar.sandbox.bubblewrap.backend import BubblewrapBackend
from aar.sandbox.protocol import SandboxSpec

LOOK = '''
import hashlib, os, sys
for top, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if os.path.join(top, f) not in ("/proc", "/sys")]
    for name in files:
        path = os.path.join(top, name)
        if os.path.isfile(path) and os.path.getsize(path) == %d:
            print(hashlib.sha256(open(path, "rb").read()).hexdigest(), path)
import numpy
print("looked")
'''

async def whole():
    backend = BubblewrapBackend(("numpy",))
    workspace = pathlib.Path(sys.argv[2])
    try:
        box = await backend.create(SandboxSpec("box", "c", workspace, workspace_bytes=1 << 24))
        print((await box.exec(["python3", "-c", LOOK % int(sys.argv[3])], timeout=60)).output)
        await box.destroy()
    except SandboxUnavailable as error:
        print("refused:", error.message)
    await backend.close()

asyncio.run(whole())
"""
_SHOWN = "/usr/share/doc"
"""A folder that is everywhere, that sandboxes see, and that nothing needs: an own file system in the test's mounts."""
_NAMESPACE = f'mount -t tmpfs none {_SHOWN} && mkdir {_SHOWN}/x && cd {_SHOWN}/x && eval "$1"; shift; exec "$@"'


def sandbox_with(tmp_path: Path, prepare: str, python: str, environment: dict[str, str], origin: str) -> str:
    """Make a sandbox with an `aar` that lies below a shown folder, and tell what it found inside.

    Args:
        prepare: shell line that fills the shown folder.
        python: interpreter to run.
        origin: where `aar` must have been imported from.
    """
    script = tmp_path / "script.py"
    script.write_text(_SANDBOX)
    values = [origin, str(tmp_path / "w"), str(_DATA.stat().st_size)]
    command = ["unshare", "--mount", "sh", "-ec", _NAMESPACE, "sh", prepare, python, "-P", str(script), *values]
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_CACHE_HOME") if name in os.environ}
    environment = {**kept, "AAR_HOME": str(tmp_path / "home"), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def mounts(own_home: Path) -> None:
    """Skip where no real sandbox, or no mount of one's own, can be made."""
    need("bubblewrap")
    if os.getuid() != 0:
        pytest.skip("a mount namespace of one's own needs root")


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("mounts")
def test_a_virtual_environment_below_a_shown_folder_shows_nothing(tmp_path: Path) -> None:
    venv = f"{_SHOWN}/x/venv"
    packages = f"{venv}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    prepare = f"{sys.executable} -m venv --without-pip {venv} && cp -r {_PACKAGE} {packages}/aar"
    prepare += f" && echo {sysconfig.get_path('purelib')} > {packages}/others.pth"
    assert sandbox_with(tmp_path, prepare, f"{venv}/bin/python", {}, packages) == "looked\n\n"


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("mounts")
def test_a_target_folder_below_a_shown_folder_shows_nothing(tmp_path: Path) -> None:
    folder = f"{_SHOWN}/x/lib"
    prepare = f"mkdir {folder} && cp -r {_PACKAGE} {folder}/aar"
    assert sandbox_with(tmp_path, prepare, sys.executable, {"PYTHONPATH": folder}, folder) == "looked\n\n"


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("mounts")
def test_another_copy_below_a_shown_folder_means_no_sandbox(tmp_path: Path) -> None:
    said = sandbox_with(tmp_path, f"cp {_DATA} innocent", sys.executable, {}, str(_PACKAGE))
    assert said == f"refused: a problem's hidden data would be visible in every sandbox, at {_SHOWN}/x/innocent\n"


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as sandboxes would see it, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "shown [1]"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "other").write_bytes(b"x" * _DATA.stat().st_size)
    return folder


def test_copies_are_found_under_any_name_and_in_archives(shown: Path) -> None:
    check_visible_folders([shown])
    target = shown / "deep" / "er" / "name\nof two lines"
    shutil.copyfile(_DATA, target)
    (shown / "new").mkdir()  # a change near the top: a clean answer holds no more
    with pytest.raises(SandboxUnavailable, match="name\nof two lines"):
        check_visible_folders([shown])
    check_visible_folders([shown], [shown / "deep"])
    target.unlink()
    with zipfile.ZipFile(shown / "some.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(_DATA, "other/name")
    with pytest.raises(SandboxUnavailable, match=r"some\.whl"):
        check_visible_folders([shown])
    (shown / "some.whl").rename(shown / "aar-0.1.0.tar.gz")
    with pytest.raises(SandboxUnavailable, match=r"aar-0\.1\.0\.tar\.gz"):
        check_visible_folders([shown])


def test_a_clean_answer_is_kept_and_a_bad_one_is_not(shown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_visible_folders([shown])
    monkeypatch.setenv("PATH", "/nowhere")
    (shown / "deep" / "er" / "late").write_bytes(_DATA.read_bytes())
    check_visible_folders([shown])  # deep changes are seen after an hour
    stamp = next((shown.parent / "cache" / "aar" / "clean").iterdir())
    os.utime(stamp, (0, 0))
    for _ in range(2):
        with pytest.raises(SandboxUnavailable, match="late"):
            check_visible_folders([shown])


def test_what_ships_is_known_by_checksum_too() -> None:
    assert problem_data_index().is_copy(_DATA)
    assert {size for size, _ in problem_data_index().checksums} == set(problem_data_index().digests)


def test_a_mount_that_holds_a_copy_means_no_sandbox(each_backend: Callable[[], SandboxBackend], tmp_path: Path) -> None:
    (tmp_path / "mounted" / "deep").mkdir(parents=True)
    shutil.copyfile(_DATA, tmp_path / "mounted" / "deep" / "data.bin")

    async def whole() -> None:
        backend = each_backend()
        spec = SandboxSpec("box", "c", tmp_path / "w", mounts=[Mount(tmp_path / "mounted", "/data")])
        try:
            with pytest.raises(SandboxUnavailable, match=r"deep/data\.bin"):
                await backend.create(spec)
            assert await backend.list("c") == []
        finally:
            await backend.close()

    asyncio.run(whole())


def test_a_package_that_brings_a_problem_is_private_wherever_its_import_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "elsewhere" / "plugged"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    described = tmp_path / "installed" / "plugged-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[aar.problems]\nplugged = plugged:Problem\n")
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))

    class Finder:
        """Finds the package as an editable installation does, without an entry on the import path."""

        @staticmethod
        def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
            if name != "plugged":
                return None
            return spec_from_file_location(name, package / "__init__.py", submodule_search_locations=[str(package)])

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    places = hidden_folders()
    assert package in places
    assert package.parent not in places
    assert {_PACKAGE, Path.home(), Path(sys.prefix)} <= set(places)
