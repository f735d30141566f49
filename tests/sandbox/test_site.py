"""Which packages a sandbox is given beside those that a problem names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aar.errors import SandboxUnavailable
from aar.sandbox.bubblewrap.python_mounts import site_packages_tree

NEVER = "python_version < '3'"
HERE = "python_version >= '3' and sys_platform == 'linux'"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed distributions, in front of the real one."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def distribution(folder: Path, name: str, *requires: str) -> None:
    """Install a distribution of one module, as pip leaves it."""
    (folder / f"{name}.py").write_text("")
    described = folder / f"{name}-1.0.dist-info"
    described.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {each}" for each in requires)]
    (described / "METADATA").write_text("\n".join(lines) + "\n")
    (described / "RECORD").write_text(f"{name}.py,,\n{described.name}/METADATA,,\n{described.name}/RECORD,,\n")


def shown(*names: str) -> set[str]:
    """Modules in the tree for these names."""
    return {path.stem for path in site_packages_tree(names, "/opt/site").glob("*.py")}


def test_requirements_whose_markers_hold_here_come_along(install: Path) -> None:
    distribution(install, "aaa", f"bbb>=1 ; {HERE}", f"ccc ; {NEVER}", "ddd[fast] (>=0.5)")
    distribution(install, "bbb", "aaa")
    distribution(install, "ccc")
    distribution(install, "ddd", "eee ; extra == 'fast'", "fff ; extra == 'slow'")
    distribution(install, "eee")
    distribution(install, "fff")
    assert shown("aaa") == {"aaa", "bbb", "ddd", "eee"}
    assert shown("ddd") == {"ddd"}
    assert shown("ddd[slow]") == {"ddd", "fff"}


def test_a_required_package_that_is_missing_is_named(install: Path) -> None:
    distribution(install, "aaa", f"no-such-package ; {HERE}")
    with pytest.raises(SandboxUnavailable, match="no-such-package"):
        site_packages_tree(("aaa",), "/opt/site")


def test_a_malformed_name_is_refused(install: Path) -> None:
    assert sys.path[0] == str(install)
    with pytest.raises(SandboxUnavailable, match="malformed: got 'a b'"):
        site_packages_tree(("a b",), "/opt/site")
