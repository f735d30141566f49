"""This process's own secrets: named once, and shown by no message, log line or traceback from then on."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from aar import redaction
from aar.campaign.spec import CampaignSpec
from aar.cli.output import log_setup
from aar.errors import DatabaseError
from aar.redaction import redact, register_secret, without_database_address
from aar.store.database import Database
from aar.store.engine import display_url, make_engine, parse_url

PASSWORD = "wide-open sesame/7"


@pytest.fixture(autouse=True)
def _nothing_hidden_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", set())


def test_a_secret_is_replaced_as_it_is_and_as_urls_hold_it() -> None:
    register_secret(PASSWORD)
    text = f"a {PASSWORD} b wide-open%20sesame%2F7 c wide-open+sesame%2F7 d"
    assert redact(text) == "a *** b *** c *** d"


def test_a_short_password_is_replaced_where_it_is_one() -> None:
    register_secret("aar")
    assert redact("aar: postgresql://aar:aar@db/aar password=aar host=aar") == (
        "aar: postgresql://aar:***@db/aar password=*** host=aar"
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:sEcret-word@host:notaport/db",
        "postgresql://u:sEcret@word/more@host/db",
        "postgresql://u:x@sEcret-word@host/db",
        "sEcret-word",
        "mysql://u:sEcret-word@host/db",
    ],
)
def test_a_url_that_will_not_do_is_not_quoted(url: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        make_engine(url, 1.0)
    assert "sEcret" not in f"{caught.value}{caught.value.__cause__}"
    assert caught.value.remedy


def test_a_url_is_shown_without_its_password_wherever_that_stands() -> None:
    for url in ("postgresql+psycopg://u:sEcret-word@h/db", "postgresql+psycopg://u@h/db?password=sEcret-word"):
        assert "sEcret" not in display_url(parse_url(url))
        assert redact("it says sEcret-word") == "it says ***"


def test_a_server_that_cannot_be_reached_is_named_without_the_password() -> None:
    pytest.importorskip("psycopg")
    db = Database("postgresql+psycopg://u:sEcret-word@127.0.0.1:9/db?connect_timeout=2")
    with pytest.raises(DatabaseError) as caught, db.reading() as session:
        session.connection()
    db.close()
    assert "u:***@127.0.0.1" in caught.value.message
    assert "sEcret" not in str(caught.value)


def test_log_lines_and_tracebacks_hold_none(tmp_path: Path) -> None:
    register_secret(PASSWORD)
    file = tmp_path / "log"
    with log_setup.configure_logging(file, "debug"):
        structlog.get_logger("x").warning("opened", url=f"postgresql://u:{PASSWORD}@h/db")
        try:
            raise ValueError(PASSWORD)
        except ValueError:
            structlog.get_logger("x").exception("it broke")
            logging.getLogger("y").exception("it broke")
    assert file.read_text().count("***") >= 3
    assert PASSWORD not in file.read_text()
    script = (
        "from aar.redaction import install_excepthook, register_secret\n"
        f"install_excepthook()\nregister_secret({PASSWORD!r})\nraise RuntimeError('it says ' + {PASSWORD!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.rstrip().endswith("RuntimeError: it says ***")
    assert done.returncode == 1


def test_no_dump_of_a_spec_holds_the_database() -> None:
    spec = CampaignSpec(database="postgresql://u:sEcret-word@h/db")
    assert spec.database is not None
    assert "sEcret" not in f"{spec.model_dump()}{spec.model_dump(mode='json')}{spec.model_dump_json()}"
    assert without_database_address({"name": "x", "database": "postgresql://u:sEcret-word@h/db"}) == {"name": "x"}


def test_a_stream_stays_usable() -> None:
    text = io.StringIO()
    stream = log_setup._Redacting(lambda: text)
    assert stream.write("abc") == 3
    stream.flush()
