from pathlib import Path

import pytest

from aar.settings import get_settings

from .conftest import Terminal


def test_every_check_is_shown(empty: Terminal) -> None:
    found = empty.json("doctor")
    names = {check["name"] for check in found["checks"]}
    assert {"machine", "python", "home", "database", "docker", "bubblewrap", "sandbox", "problem", "model"} <= names
    assert found["ok"] == all(check["ok"] for check in found["checks"] if check["needed"])
    assert all(check["detail"] for check in found["checks"])
    assert all(check["remedy"] for check in found["checks"] if not check["ok"])
    assert not empty.home.exists()


def test_without_a_key_researchers_are_the_baseline(empty: Terminal) -> None:
    said = empty.ok("doctor", "model")
    assert "offline search baseline (not an LLM)" in said
    assert "→ Set ANTHROPIC_API_KEY" in said


def test_a_key_is_never_shown(empty: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    for extra in ([], ["--json"]):
        said = empty.ok("doctor", "model", *extra)
        assert "is set" in said
        assert "sk-ant" not in said


def test_what_is_broken_decides_the_exit_code(empty: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AAR_HOME", str(tmp_path / "file" / "home"))
    get_settings.cache_clear()
    result = empty.run("doctor", "home")
    assert result.exit_code == 3
    assert "✗ home" in result.stdout
    assert "→ Set AAR_HOME" in result.stdout
    assert (quiet := empty.run("doctor", "home", "--quiet")).stdout == ""
    assert quiet.exit_code == 3


def test_a_database_that_cannot_be_used(empty: Terminal) -> None:
    empty.home.mkdir()
    (empty.home / "aar.db").write_bytes(b"no database" * 200)
    result = empty.run("doctor", "database")
    assert result.exit_code == 3
    assert "✗ database" in result.stdout


def test_an_unknown_check(empty: Terminal) -> None:
    result = empty.run("doctor", "horoscope")
    assert result.exit_code == 2
    assert "Use one of: machine, home" in result.stderr
