"""Databases for the tests of the store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from aar.errors import SetupError
from aar.testing.postgres import throwaway_postgres

_numbers = count()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'aar.db'}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    try:
        with throwaway_postgres() as url:
            yield url
    except SetupError as error:
        if os.environ.get("AAR_REQUIRE_ALL") == "1":
            raise
        pytest.skip(str(error))


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    name = f"t{next(_numbers)}"
    engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(postgres_server).set(database=name).render_as_string()
