"""Calls that are charged at their worst case are told of wherever costs are shown."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from aar.cli.app import app
from aar.events import UsageDoubted
from aar.readmodels.alerts import UsageDoubt, list_usage_doubts
from aar.redteam.campaign_rows import add_campaign
from aar.settings import Settings, get_settings
from aar.store import open_database
from aar.store.event_log import append_event


def test_each_cause_once_with_those_it_concerns(tmp_path: Path) -> None:
    database = open_database(Settings(home=tmp_path).database_url)
    try:
        with database.writing() as session:
            one, two, _ = add_campaign(session)
            assert list_usage_doubts(session, "k3v9qd") == []
            for who, cause in ((two, "no input tokens"), (one, "no\x1boutput"), (one, "no input tokens")):
                append_event(session, "k3v9qd", UsageDoubted(request_id=f"{who}{cause}", cause=cause), who)
        with database.reading() as session:
            found = list_usage_doubts(session, "k3v9qd")
    finally:
        database.close()
    assert found == [UsageDoubt("no input tokens", ("r2", "r1")), UsageDoubt("no␛output", ("r1",))]
    get_settings.cache_clear()
    said = CliRunner().invoke(app, ["costs", "--database", Settings(home=tmp_path).database_url]).stdout
    assert "charged at the worst case: no input tokens (r2, r1)" in said
    assert "no hours worked yet" in said  # and no rate of $0.00
