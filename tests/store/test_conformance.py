"""SQLite and PostgreSQL pass the shipped suite."""

from __future__ import annotations

import pytest

from aar.testing.conformance.store_suite import StoreSuite


class TestSqlite(StoreSuite):
    @pytest.fixture
    def database_url(self, sqlite_url: str) -> str:
        return sqlite_url


@pytest.mark.postgres
class TestPostgres(StoreSuite):
    @pytest.fixture
    def database_url(self, postgres_url: str) -> str:
        return postgres_url
