"""Machine-wide settings from the environment (``AAR_*``), never from a spec."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from aar.errors import UsageError
from aar.redaction import register_secret


def _default_home() -> Path:
    data_home = Path(os.environ.get("XDG_DATA_HOME", ""))
    # The XDG base directory specification has relative paths ignored.
    return (data_home if data_home.is_absolute() else Path.home() / ".local" / "share") / "aar"


def _one_place(path: Path) -> Path:
    """Return one absolute path for every spelling of a place.

    Spellings: ``~``, ``$HOME``, relative, with links.

    Raises UsageError.

    Environment files of services and containers pass ``$HOME`` without expanding it.
    """
    try:
        return Path(os.path.realpath(Path(os.path.expandvars(path)).expanduser()))
    except (RuntimeError, ValueError, OSError) as error:  # no such user, a NUL character, a folder that was removed
        raise UsageError(f"path cannot be resolved: got {path}, {error}", "Write it in full, from /") from error


class Settings(BaseSettings):
    """Machine-wide settings. Each field is read from ``AAR_<FIELD>``."""

    # An empty variable is one that is not set.
    model_config = SettingsConfigDict(env_prefix="AAR_", extra="ignore", env_ignore_empty=True, validate_default=True)

    home: Path = Field(default_factory=_default_home)
    """Folder of campaigns, database, snapshots and caches: one absolute path for every spelling."""
    database: str = ""
    """SQLAlchemy URL; empty means SQLite under ``home``."""
    docker_host: str = ""
    """Docker engine to use; empty means the docker SDK's default (``DOCKER_HOST``, the usual socket)."""
    log_level: str = "warning"
    """Level of the log on standard error."""
    anthropic_api_key: SecretStr | None = Field(default=None, validation_alias="ANTHROPIC_API_KEY")
    """Key for Claude. Read here and passed to the gateway; never written anywhere."""
    anthropic_api_key_file: Path | None = None
    """File whose first line is that key, as an alternative to the environment."""

    @field_validator("home", mode="before")
    @classmethod
    def _blank_is_not_set(cls, home: object) -> object:
        return _default_home() if isinstance(home, str) and not home.strip() else home

    @field_validator("home", mode="after")
    @classmethod
    def _home_is_one_place(cls, home: Path) -> Path:
        return _one_place(home)

    @field_validator("anthropic_api_key_file", mode="after")
    @classmethod
    def _key_file_is_one_place(cls, file: Path | None) -> Path | None:
        return None if file is None else _one_place(file)

    @property
    def claude_key(self) -> SecretStr | None:
        """The current API key. None without one.

        Raises UsageError for a key file that cannot be read or is empty.
        """
        if self.anthropic_api_key is not None and self.anthropic_api_key.get_secret_value().strip():
            register_secret(self.anthropic_api_key.get_secret_value().strip())
            return self.anthropic_api_key
        if self.anthropic_api_key_file is None:
            return None
        try:
            lines = self.anthropic_api_key_file.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise UsageError(f"cannot read the key file {self.anthropic_api_key_file}: {reason}") from error
        if not lines:
            raise UsageError(f"the key file {self.anthropic_api_key_file} is empty", "Write the key on its first line")
        register_secret(lines[0])
        return SecretStr(lines[0])

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL of the current database."""
        return self.database or f"sqlite:///{self.home / 'aar.db'}"

    def campaign_dir(self, campaign_id: str) -> Path:
        """Return the folder of one campaign's workspaces and bundles.

        The hidden ones are mode 0700.
        """
        return self.home / "campaigns" / campaign_id

    def report_path(self, campaign_id: str) -> Path:
        """Return the default path of a campaign's report."""
        return self.campaign_dir(campaign_id) / "report.html"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the current settings, read once.

    Tests call ``get_settings.cache_clear()``.
    """
    return Settings()


def load_settings(database: str | None) -> Settings:
    """Return the current settings, with another database if one is named."""
    settings = get_settings()
    return settings if database is None else settings.model_copy(update={"database": database})
