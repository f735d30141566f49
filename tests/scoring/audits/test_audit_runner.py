"""Audits come from the package, the caller and entry points; a broken one is named, and no two share a name."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from aar.errors import SetupError
from aar.scoring.audits.audit_runner import available_audits
from aar.scoring.audits.protocol import Audit, AuditStage
from aar.scoring.audits.score_audits import TeacherAudit

GOOD = """
from aar.scoring.audits.protocol import AuditResult, AuditStage, AuditVerdict


class Nosy:
    name = "nosy"
    stage = AuditStage.SUBMITTED

    def phases(self, problem):
        return ()

    async def judge(self, dossier):
        return AuditResult(self.name, AuditVerdict.PASSED, "", "")
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str) -> None:
    """Put a distribution with one audit where Python finds it, as an installer would."""
    (folder / f"{module}.py").write_text(source)
    about = folder / f"{module}-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(f"[aar.audits]\nnosy = {module}:Nosy\n")
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()


def test_the_shipped_ones_are_there_and_those_that_read_code_come_first() -> None:
    found = available_audits(noise_levels=(0.2, 0.4))
    assert [audit.name for audit in found] == ["static", "teacher", "label-noise", "split-sensitivity", "coordinates"]
    assert all(isinstance(audit, Audit) for audit in found)


def test_installed_packages_bring_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "nosy_audit", GOOD)
    found = available_audits(noise_levels=())
    assert [audit.name for audit in found][:2] == ["static", "nosy"]


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("gone_audit", "import nothing_of_that_name\n", "ModuleNotFoundError"),
        ("needy_audit", GOOD.replace("    name =", "    def __init__(self, x): ...\n    name ="), "TypeError"),
        ("lazy_audit", GOOD.replace("async def judge", "async def ponder"), "lacks judge"),
        ("vague_audit", GOOD.replace("AuditStage.SUBMITTED", "'sometimes'"), "no AuditStage"),
    ],
)
def test_a_broken_one_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, source: str, said: str
) -> None:
    install(tmp_path, monkeypatch, module, source)
    with pytest.raises(SetupError, match=said) as caught:
        available_audits(noise_levels=())
    assert f"{module} 1.2" in caught.value.message
    assert caught.value.remedy


def test_two_of_a_name_are_refused() -> None:
    with pytest.raises(SetupError, match="audit name is not unique: got 'teacher'"):
        available_audits(noise_levels=(), extra=[TeacherAudit()])


def test_one_handed_in_is_among_them() -> None:
    class Extra(TeacherAudit):
        name = "another"
        stage = AuditStage.SUBMITTED

    assert "another" in [audit.name for audit in available_audits(noise_levels=(), extra=[Extra()])]
