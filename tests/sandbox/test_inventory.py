"""The choice between backends, and what a person is told when neither works."""

from __future__ import annotations

import asyncio

import pytest

from aar.errors import SandboxUnavailable, UsageError
from aar.sandbox.bubblewrap.backend import bubblewrap_availability
from aar.sandbox.inventory import choose_backend, list_availability
from aar.settings import get_settings


def test_each_backend_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("AAR_DOCKER_HOST", "unix:///no/such/socket")
    monkeypatch.setenv("PATH", str(tmp_path))
    get_settings.cache_clear()
    bubblewrap_availability.cache_clear()
    try:
        with pytest.raises(SandboxUnavailable) as caught:
            asyncio.run(choose_backend())
        assert "docker" in caught.value.message
        assert "bubblewrap" in caught.value.message
        assert "sudo apt-get install bubblewrap" in caught.value.remedy
        found = asyncio.run(list_availability())
        assert [a.ok for a in found.values()] == [False, False]
        assert all(a.remedy for a in found.values())
    finally:
        get_settings.cache_clear()
        bubblewrap_availability.cache_clear()


def test_an_unknown_backend_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        asyncio.run(choose_backend("podman"))
