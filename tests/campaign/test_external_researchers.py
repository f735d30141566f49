"""Researchers from outside: a row and a token, and nothing that the controller runs or books."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.auth.tokens import find_researcher_id
from aar.budget.totals import read_totals
from aar.campaign.diversity import current_families
from aar.campaign.external_researchers import EXTERNAL_MODEL, invite_researcher
from aar.campaign.steering import revoke_token
from aar.campaign.views import get_researcher, list_researchers, working_researcher_ids
from aar.errors import Conflict, Forbidden, NotFound, UsageError
from aar.readmodels.formatting import model_label
from aar.redteam.campaign_rows import add_campaign
from aar.scoring.method_manifest import MethodManifest
from aar.scoring.submissions import submit
from aar.snapshots.store import SnapshotStore
from aar.store import open_database
from aar.store.database import Database
from aar.store.event_log import read_events
from aar.store.models import Campaign, Researcher


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    with made.writing() as session:
        add_campaign(session, "k3v9qd", 2)
    yield made
    made.close()


def test_a_guest_stands_beside_the_team_and_is_not_at_work(db: Database) -> None:
    with db.writing() as session:
        token = invite_researcher(session, "k3v9qd", "alice", "the\nmean\x1b[31m")
        for own in list_researchers(session, "k3v9qd")[:2]:
            session.get_one(Researcher, own.id).state = "running"
    with db.reading() as session:
        assert find_researcher_id(session, token) == "k3v9qd-alice"
        guest = get_researcher(session, "k3v9qd", "alice")
        assert (guest.index, guest.model, guest.state) == (3, EXTERNAL_MODEL, EXTERNAL_MODEL)
        assert guest.direction == "the mean␛[31m"
        assert guest.is_external
        assert model_label(guest.model) != EXTERNAL_MODEL
        assert working_researcher_ids(session, "k3v9qd") == ["k3v9qd-r1", "k3v9qd-r2"]
        assert read_totals(session, "k3v9qd").researchers["k3v9qd-alice"].agent_seconds == 0
        [event] = read_events(session, "k3v9qd", researcher_id="k3v9qd-alice")
        assert event.event.kind == "researcher_started"
        stored = session.get_one(Researcher, "k3v9qd-alice").token_hash
    assert re.fullmatch(r"[0-9a-f]{64}", stored)
    assert token not in stored


def test_inviting_again_replaces_the_token_and_revoking_ends_it(db: Database) -> None:
    with db.writing() as session:
        first = invite_researcher(session, "k3v9qd", "alice")
        second = invite_researcher(session, "k3v9qd", "alice", "anew")
        assert [view.name for view in list_researchers(session, "k3v9qd")] == ["r1", "r2", "alice"]
        assert find_researcher_id(session, second) == "k3v9qd-alice"
        with pytest.raises(Forbidden):
            find_researcher_id(session, first)
        revoke_token(session, "k3v9qd", "alice")
        with pytest.raises(Forbidden):
            find_researcher_id(session, second)
        with pytest.raises(Forbidden):
            find_researcher_id(session, "")
        with pytest.raises(NotFound, match="is not an external researcher"):
            revoke_token(session, "k3v9qd", "r1")


@pytest.mark.parametrize("name", ["r1", "r77", "7", "Alice", "a-b", "human", "", "x" * 16, "é", "a b", "latest"])
def test_a_name_that_could_be_taken_for_another_is_refused(db: Database, name: str) -> None:
    with db.writing() as session, pytest.raises(UsageError, match="invalid name"):
        invite_researcher(session, "k3v9qd", name)


def test_nobody_joins_what_is_over(db: Database) -> None:
    with db.writing() as session:
        session.get_one(Campaign, "k3v9qd").state = "finished"
        with pytest.raises(Conflict, match="is finished"):
            invite_researcher(session, "k3v9qd", "alice")
        with pytest.raises(NotFound):
            invite_researcher(session, "zzzzzz", "alice")


def test_a_guest_counts_for_diversity_once_it_handed_something_in(db: Database, tmp_path: Path) -> None:
    method = tmp_path / "method"
    method.mkdir()
    (method / "run.py").write_text("1\n")
    saved = SnapshotStore(tmp_path / "snapshots").save(method)
    with db.writing() as session:
        before = current_families(session, "k3v9qd")
        invite_researcher(session, "k3v9qd", "alice")
        assert current_families(session, "k3v9qd") == before
        manifest = MethodManifest(title="t", claim="c", families=["curriculum"])
        submit(session, campaign_id="k3v9qd", researcher_id="k3v9qd-alice", saved=saved, manifest=manifest)
        assert sorted(current_families(session, "k3v9qd")) == sorted([*before, "curriculum"])
