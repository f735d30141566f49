"""Every worker has an `aar` home of its own, and no test sees a person's campaigns, or another worker's sandboxes; also
PostgreSQL for those that ask for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from aar.errors import SetupError
from aar.sandbox.bubblewrap import BubblewrapBackend
from aar.testing.servers import throwaway_postgres

from .example_copies import ExampleCopies

QUICK_SPEC = """\
problem: toy
researchers: {count: 1, model: offline-search}
sandbox: {backend: bubblewrap}
limits: {hours: 0.1, submissions: 1}
scoring: {seeds: 1, confirm_top: 0}
serve: {port: 0}
seed: 7
"""

_HOMES: list[Path] = []
_numbers = count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also run the tests marked nightly")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--all"):
        left_out = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(pytest.mark.timeout(900))
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    """Workers begin with equal parts of the list and then steal from each other's ends.

    What takes long must not be last, and what shares a long preparation is never stolen if it is first.
    """
    slow = item.get_closest_marker("slow")
    if slow is None:
        return 2
    return 0 if slow.kwargs.get("together") else 1


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts background jobs with these ignored, and the commands that tests interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    home = Path(tempfile.mkdtemp(prefix="aar-tests-"))
    _HOMES.append(home)
    os.environ["AAR_HOME"] = str(home)
    os.environ.pop("ANTHROPIC_API_KEY", None)


def pytest_unconfigure(config: pytest.Config) -> None:
    for home in _HOMES:
        shutil.rmtree(home, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("bubblewrap"):
        _need_bubblewrap()


@pytest.fixture(scope="session")
def bubblewrap() -> None:
    """Skips where bubblewrap does not work; in CI that is an error. For fixtures: tests have the mark."""
    _need_bubblewrap()


def _need_bubblewrap() -> None:
    if why := _why_no_bubblewrap():
        (pytest.fail if os.environ.get("AAR_REQUIRE_ALL") == "1" else pytest.skip)(why)


@cache
def _why_no_bubblewrap() -> str:
    found = asyncio.run(BubblewrapBackend().check())
    return "" if found.ok else f"{found.detail}. {found.remedy}"


@pytest.fixture(scope="session")
def quick_spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec of a real campaign of seconds: one researcher, one submission, no confirmation."""
    path = tmp_path_factory.mktemp("spec") / "quick.yaml"
    path.write_text(QUICK_SPEC)
    return path


@pytest.fixture(scope="session")
def example_copies(tmp_path_factory: pytest.TempPathFactory) -> ExampleCopies:
    """Homes with the example campaign, one for each test."""
    return ExampleCopies(lambda: tmp_path_factory.mktemp("example"))


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
