"""Every worker has an `aar` home of its own, and no test sees a person's campaigns, or another worker's sandboxes; also
PostgreSQL for those that ask for it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from aar.errors import SetupError
from aar.testing.postgres import throwaway_postgres

_HOMES: list[Path] = []
_numbers = count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also run the tests marked nightly")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    left_out = [item for item in items if item.get_closest_marker("nightly")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]


def pytest_configure(config: pytest.Config) -> None:
    home = Path(tempfile.mkdtemp(prefix="aar-tests-"))
    _HOMES.append(home)
    os.environ["AAR_HOME"] = str(home)
    os.environ.pop("ANTHROPIC_API_KEY", None)


def pytest_unconfigure(config: pytest.Config) -> None:
    for home in _HOMES:
        shutil.rmtree(home, ignore_errors=True)


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
