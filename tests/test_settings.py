"""What a machine or a person sets once."""

from __future__ import annotations

from pathlib import Path

import pytest

from aar.errors import UsageError
from aar.settings import Settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AAR_HOME", "AAR_DATABASE", "XDG_DATA_HOME", "ANTHROPIC_API_KEY", "AAR_ANTHROPIC_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to("place")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "written",
    [
        "~/place",
        "$HOME/place",
        "${{HOME}}/place",
        "place",
        "./place/",
        "{}/place/",
        "{}/place/../place",
        "link",
        "{}/link/",
    ],
)
def test_a_home_is_one_place_however_it_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: str
) -> None:
    monkeypatch.setenv("AAR_HOME", written.format(tmp_path))
    settings = Settings()
    assert settings.home == tmp_path / "place"
    monkeypatch.chdir("/")  # what was relative stays where it was
    assert settings.database_url == f"sqlite:///{tmp_path}/place/aar.db"
    assert settings.campaign_dir("k3v9qd") == tmp_path / "place" / "campaigns" / "k3v9qd"
    assert Settings(home=Path(written.format(tmp_path)) if written[0] in "{~$" else tmp_path / written) == settings


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usual = Settings()
    assert usual.home == tmp_path / ".local" / "share" / "aar"
    for name in ("AAR_HOME", "AAR_DATABASE", "AAR_LOG_LEVEL", "AAR_ANTHROPIC_API_KEY_FILE", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, "")
    assert Settings() == usual
    monkeypatch.setenv("AAR_HOME", "  ")
    assert Settings() == usual


def test_a_relative_data_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "place")
    assert Settings().home == tmp_path / ".local" / "share" / "aar"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "link"))
    assert Settings().home == tmp_path / "place" / "aar"


def test_a_home_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAR_HOME", "~nobody-of-that-name/aar")
    with pytest.raises(UsageError, match="~nobody-of-that-name/aar"):
        Settings()


def test_a_key_file_may_be_written_from_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-of-a-test-only\n")
    monkeypatch.setenv("AAR_ANTHROPIC_API_KEY_FILE", "~/key")
    key = Settings().claude_key
    assert key is not None
    assert key.get_secret_value() == "sk-of-a-test-only"
