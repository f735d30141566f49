from __future__ import annotations

import pytest

from aar.budget.limits import Limits, ResearcherLimits
from aar.errors import Conflict, LimitReached, NotFound
from aar.scoring.method_manifest import read_manifest
from aar.scoring.submissions import SubmissionView, get_submission, list_submissions, submit
from aar.store.event_log import read_events
from aar.store.models import Researcher, Snapshot, Submission

from .conftest import Desk

CAMPAIGN = "k3v9qd"


def test_a_submission_is_frozen_with_its_snapshot_and_event(desk: Desk) -> None:
    view = desk.submit(desk.method("print(1)", title="First", families="[ensemble]"))
    assert (view.number, view.state, view.status, view.mean) == (1, "queued", "claimed", None)
    assert (view.researcher_name, view.families, view.finished) == ("r1", ("ensemble",), False)
    with desk.db.reading() as session:
        assert get_submission(session, CAMPAIGN, 1) == view
        assert session.get(Snapshot, (view.digest, CAMPAIGN)) is not None
        kinds = [logged.event.kind for logged in read_events(session, CAMPAIGN)]
    assert kinds == ["snapshot_taken", "submission_received", "status_changed"]
    assert desk.snapshots.read_files(view.digest)["run.py"] == b"print(1)"


def test_a_repeated_call_returns_the_first_submission(desk: Desk) -> None:
    first = desk.submit(desk.method("print(1)"), key="toolu_1")
    again = desk.submit(desk.method("print(2)"), key="toolu_1")
    assert again == first
    with desk.db.reading() as session:
        assert len(list_submissions(session, CAMPAIGN)) == 1
        assert [logged.event.kind for logged in read_events(session, CAMPAIGN)].count("submission_received") == 1
    with pytest.raises(Conflict, match="another researcher"):
        desk.submit(desk.method("print(3)"), researcher=2, key="toolu_1")


def test_a_parent_is_resolved_or_named(desk: Desk) -> None:
    first = desk.submit(desk.method("print(1)"))
    child = desk.submit(desk.method("print(2)", extra="parent: s1"), researcher=2)
    assert child.parent == first.digest
    with pytest.raises(NotFound, match="s9"):
        desk.submit(desk.method("print(3)", extra="parent: s9"))
    with desk.db.reading() as session:
        assert [view.number for view in list_submissions(session, CAMPAIGN)] == [1, 2]


def test_quotas_hold_in_the_same_transaction(desk: Desk) -> None:
    limits = Limits(submissions=2, researcher=ResearcherLimits(submissions=1))

    def hand_in(researcher: int, code: str) -> None:
        directory = desk.method(code)
        with desk.db.writing() as session:
            submit(
                session,
                campaign_id=CAMPAIGN,
                researcher_id=f"{CAMPAIGN}-r{researcher}",
                saved=desk.snapshots.save(directory),
                manifest=read_manifest(directory),
                limits=limits,
            )

    hand_in(1, "print(1)")
    with pytest.raises(LimitReached) as raised:
        hand_in(1, "print(2)")
    assert raised.value.breach.scope == f"{CAMPAIGN}-r1"
    hand_in(2, "print(3)")
    with pytest.raises(LimitReached) as raised:
        hand_in(3, "print(4)")
    assert raised.value.breach.scope == "campaign"


def test_code_that_was_rejected_is_not_tried_again(desk: Desk) -> None:
    desk.submit(desk.method("1/0"))
    with desk.db.writing() as session:
        session.query(Submission).update({"state": "rejected"})
    with pytest.raises(Conflict, match="exact files are s1"):
        desk.submit(desk.method("1/0"), researcher=2)


def test_lists_page_by_number_and_filter_by_researcher(desk: Desk) -> None:
    for index in range(5):
        desk.submit(desk.method(f"print({index})"), researcher=1 + index % 2)
    with desk.db.reading() as session:
        assert [view.number for view in list_submissions(session, CAMPAIGN, after=1, limit=2)] == [2, 3]
        of_second = list_submissions(session, CAMPAIGN, researcher_id=f"{CAMPAIGN}-r2")
        assert [view.number for view in of_second] == [2, 4]
        with pytest.raises(NotFound, match="s99"):
            get_submission(session, CAMPAIGN, 99)


def test_an_unknown_researcher_is_refused(desk: Desk) -> None:
    with pytest.raises(NotFound, match="r9"):
        desk.submit(desk.method("print(1)"), researcher=9)


def test_scoring_runs_are_charged_and_bounded(desk: Desk) -> None:
    whole = Limits(scoring_runs=14, researcher=ResearcherLimits(scoring_runs_per_hour=8))

    def hand_in(researcher: int, code: str, limits: Limits = whole) -> SubmissionView:
        directory = desk.method(code)
        with desk.db.writing() as session:
            return submit(
                session,
                campaign_id=CAMPAIGN,
                researcher_id=f"{CAMPAIGN}-r{researcher}",
                saved=desk.snapshots.save(directory),
                manifest=read_manifest(directory),
                limits=limits,
                runs=6,
            )

    assert hand_in(1, "print(1)").charged_runs == 6
    with pytest.raises(LimitReached, match="It frees itself as hours are worked") as raised:
        hand_in(1, "print(2)")
    assert (raised.value.breach.scope, raised.value.breach.limit) == (f"{CAMPAIGN}-r1", "scoring_runs_per_hour")
    with desk.db.writing() as session:
        session.query(Researcher).filter_by(name="r1").update({"active_seconds": 5400.0})
    assert hand_in(1, "print(2)").number == 2  # 12 runs in an hour and a half
    with pytest.raises(LimitReached, match=r"limits\.scoring_runs") as raised:
        hand_in(2, "print(3)")
    assert (raised.value.breach.scope, raised.value.breach.limit) == ("campaign", "scoring_runs")
    assert raised.value.breach.missing == 4


def test_what_its_author_expects_is_frozen_with_the_code(desk: Desk) -> None:
    view = desk.submit(desk.method("print(1)", extra="hypothesis: |\n  About 0.4,\n  since the noise halves.\n"))
    assert view.hypothesis == "About 0.4, since the noise halves."
    with desk.db.reading() as session:
        assert get_submission(session, CAMPAIGN, 1).hypothesis == view.hypothesis
