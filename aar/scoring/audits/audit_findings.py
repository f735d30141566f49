"""Stores the findings of audits and reads them back.

Findings are written once each; the newest of an audit counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.events import AuditFinished
from aar.scoring.audits.protocol import AuditResult, AuditVerdict
from aar.store.event_log import append_event
from aar.store.models import AuditFinding, Submission


@dataclass(frozen=True, slots=True)
class FindingView:
    """A stored finding of an audit.

    ``evidence`` is for people who check it closely, never for researchers.
    """

    audit: str
    verdict: str
    rule: str
    reason: str
    evidence: Mapping[str, Any]
    at: datetime

    @property
    def label(self) -> str:
        """Return the label for the board.

        It names the rule. It also says if the finding is only suspected, or why the audit was skipped.
        """
        match self.verdict:
            case AuditVerdict.LABELLED | AuditVerdict.SKIPPED:
                return self.rule  # one that does not apply was skipped without a rule
            case AuditVerdict.FLAGGED:
                return f"flagged: {self.rule}"
            case _:
                return ""


def record_finding(session: Session, submission: Submission, finding: AuditResult) -> None:
    """Store a finding, with its event, in the caller's transaction."""
    session.add(
        AuditFinding(
            campaign_id=submission.campaign_id,
            submission_id=submission.id,
            audit=finding.audit,
            verdict=finding.verdict,
            rule=finding.rule,
            reason=finding.reason,
            evidence=dict(finding.evidence),
        )
    )
    event = AuditFinished(
        submission_id=submission.id,
        number=submission.number,
        audit=finding.audit,
        verdict=finding.verdict,
        rule=finding.rule,
        reason=finding.reason,
    )
    append_event(session, submission.campaign_id, event, submission.researcher_id)


def latest_findings(session: Session, submission_ids: Collection[int]) -> dict[int, list[FindingView]]:
    """Return the newest finding of each audit, by submission.

    Audits come in the order in which they first answered.
    """
    if not submission_ids:
        return {}
    found: dict[int, dict[str, FindingView]] = {each: {} for each in submission_ids}
    query = select(AuditFinding).where(AuditFinding.submission_id.in_(list(submission_ids)))
    for row in session.scalars(query.order_by(AuditFinding.id)):
        view = FindingView(row.audit, row.verdict, row.rule, row.reason, row.evidence, row.at)
        found[row.submission_id][row.audit] = view
    return {each: list(answers.values()) for each, answers in found.items()}


def similar_submissions(session: Session, submission_id: int) -> list[int]:
    """List submissions with other files whose syntax trees are the same.

    Layout and names are ignored; only the code that could be read is compared.

    A hint for people; nothing acts on it.
    """
    submission = session.get_one(Submission, submission_id)
    shape = AuditFinding.evidence["shape"].as_string()
    own = session.scalars(
        select(shape).where(AuditFinding.submission_id == submission_id, AuditFinding.audit == "static")
    ).all()
    shapes = [each for each in own if each]
    if not shapes:
        return []
    query = (
        select(Submission.number)
        .join(AuditFinding, AuditFinding.submission_id == Submission.id)
        .where(Submission.campaign_id == submission.campaign_id, Submission.digest != submission.digest)
        .where(AuditFinding.audit == "static", shape.in_(shapes))
    )
    return sorted(set(session.scalars(query)))


def finding_labels(findings: Collection[FindingView]) -> tuple[str, ...]:
    """Return the labels that the board shows beside a submission."""
    return tuple(finding.label for finding in findings if finding.label)
