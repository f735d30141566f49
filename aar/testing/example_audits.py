"""Example audits: confirmations, audits, a disqualification, an appeal, and a queue.

Written by the same services that a real campaign's scorer calls; the scores are made up like the campaign's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from aar.forum.authors import Author
from aar.forum.posts import create_post
from aar.problems.protocol import Estimate, TaskScore
from aar.problems.weak_to_strong.problem import WeakToStrong
from aar.scoring.audits.audit_findings import record_finding
from aar.scoring.audits.protocol import AuditResult, AuditVerdict, PhaseScores
from aar.scoring.cleanroom.clean_room import ScoringRunResult
from aar.scoring.confirmation_queue import CheckPlan, claim_check, request_check
from aar.scoring.finalizer import finish_check
from aar.scoring.method_manifest import MethodManifest
from aar.scoring.phases import CONFIRM, CONFIRMATION, ON_TRANSFER_DOMAINS, PERMUTED, TRANSFER, noise_phase
from aar.scoring.results import score_writer
from aar.scoring.submission_status import disqualify, reinstate
from aar.scoring.submissions import get_submission, submit
from aar.snapshots.store import SnapshotStore
from aar.store.database import Database
from aar.store.models import Submission
from aar.testing.example_campaign import HOSTILE, PART, SECRET

CAMPAIGN: Final = "k3v9qd"
PEOPLE_ONLY: Final = 0.4711
"""The unrounded mean of a confirmation; must not appear anywhere."""
_PLAN = CheckPlan(confirm_seeds=8)


def add_example_audits(db: Database, snapshots: SnapshotStore, folder: Path) -> None:
    """Add audits to the campaign of ``write_example_campaign``.

    Afterwards s12 leads, confirmed; s10 is confirmed and labelled as teacher-independent; s7 is refuted; s13 is
    disqualified; s9 was, and is reinstated; a confirmation of s14 waits; s15 and s16 wait to be scored.

    Args:
        snapshots, folder: as for ``write_example_campaign``.
    """
    with db.writing() as session:
        for number in (6, 9, 10, 12, 14):
            record_finding(session, session.get_one(Submission, number), _passed("static"))
    disappears = AuditResult(
        "teacher",
        AuditVerdict.LABELLED,
        "teacher-independent",
        "Its score stays when the teacher's labels are permuted: it does not use its teacher.",
        {"permuted": {"mean": PEOPLE_ONLY, "standard_error": 0.04}, "curve": [PEOPLE_ONLY]},
    )
    skipped = AuditResult("reviewer", AuditVerdict.SKIPPED, "", "Not reviewed: the campaign calls no Claude model.")
    _check(db, 7, CONFIRMATION, {CONFIRM.key: 0.12}, [_passed("teacher"), skipped])
    spoilt = {PERMUTED.key: 0.03, noise_phase(0.2).key: 0.31, noise_phase(0.4).key: 0.14}
    noise = AuditResult(
        "noise", AuditVerdict.PASSED, "", "The score falls as more of the teacher's labels are inverted."
    )
    _check(db, 12, CONFIRMATION, {CONFIRM.key: PEOPLE_ONLY, **spoilt}, [_passed("teacher"), noise, skipped])
    _check(db, 10, CONFIRMATION, {CONFIRM.key: 0.44, PERMUTED.key: 0.43}, [disappears, skipped])
    for number, value in ((12, 0.33), (10, 0.41)):
        _check(db, number, TRANSFER, {ON_TRANSFER_DOMAINS.key: value}, [])
    with db.writing() as session:
        opens_a_socket = AuditResult(
            "static",
            AuditVerdict.DISQUALIFIED,
            "static.network",
            "run.py opens a socket. " + HOSTILE,
            {
                "lines": [
                    {"file": "run.py", "line": 7, "text": "socket.create_connection(…)</pre><script>alert(1)</script>"}
                ]
            },
        )
        record_finding(session, session.get_one(Submission, 13), opens_a_socket)
        disqualify(session, 13, opens_a_socket.rule, opens_a_socket.reason, "static")
        disqualify(session, 9, "person.leak", "It seems to read the scorer's folder.", "human:ana")
        reinstate(session, 9, "It reads its own temporary folder; nothing is wrong with that.", "human:ana")
        request_check(session, CAMPAIGN, 14, CONFIRMATION, "asked for by human:ana: is the floor real?", "human:ana")
        create_post(
            session,
            CAMPAIGN,
            Author("r1", f"{CAMPAIGN}-r1"),
            kind="insight",
            title="What s7 and s12 have in common",
            body="Both trust the zero-shot direction where the teacher is unsure, as s13 does; only s12 holds up.",
        )
    for index, name in ((15, "Confidence floor, learned"), (16, "PCA-12 head")):
        _wait(db, snapshots, folder / f"method-{index}", name)


def _passed(audit: str) -> AuditResult:
    return AuditResult(audit, AuditVerdict.PASSED, "", "Nothing found.")


def _check(db: Database, number: int, kind: str, means: Mapping[str, float], findings: Sequence[AuditResult]) -> None:
    problem = WeakToStrong()
    with db.writing() as session:
        check = get_submission(session, CAMPAIGN, number)
        request_check(session, CAMPAIGN, check.id, kind, "it would take first place", "scorer")
        work = claim_check(session, CAMPAIGN, problem, _PLAN, [], SECRET)
        assert work is not None
        assert work.check_id is not None
        for ticket in work.pending:
            trial = ScoringRunResult(TaskScore(parts={"method": PART}), None, "", "f" * 64, 1.5)
            score_writer.finish_run(session, CAMPAIGN, ticket.run_id, trial)
        phases = {}
        for key, mean in means.items():
            domains = problem.transfer_domains if kind == TRANSFER else problem.climbed_domains
            parts = {name: _estimate(mean + 0.04 * place) for place, name in enumerate(domains, start=-1)}
            pooled = _estimate(mean)
            estimate = Estimate(mean, pooled.standard_error, pooled.low, pooled.high, 16, parts)
            phases[key] = PhaseScores(estimate, [], 8)
        finish_check(session, work.check_id, phases, findings, plan=_PLAN, metric=problem.metric)


def _estimate(mean: float) -> Estimate:
    error = 0.025
    return Estimate(mean, error, mean - 1.645 * error, mean + 1.645 * error, 8)


def _wait(db: Database, snapshots: SnapshotStore, directory: Path, title: str) -> None:
    directory.mkdir()
    (directory / "run.py").write_text(f"print({title!r})\n")
    manifest = MethodManifest(
        title=title,
        claim="The floor follows from the teacher's own agreement.",
        hypothesis="0.56, a little above s14, because the floor adapts to the split.",
        families=["model-internals"],
        parent="s14",
    )
    saved = snapshots.save(directory)
    with db.writing() as session:
        submit(session, campaign_id=CAMPAIGN, researcher_id=f"{CAMPAIGN}-r2", saved=saved, manifest=manifest)
