"""Tables of submissions, their scoring runs, checks and audits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from aar.store.column_types import Base, UtcDateTime, big_key, now


class Submission(Base):
    """A submitted method: frozen code and claim; scores come from scoring runs only."""

    __tablename__ = "submission"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"), index=True)
    number: Mapped[int]
    """Its number within the campaign, shown as s<number>."""
    researcher_id: Mapped[str] = mapped_column(ForeignKey("researcher.id"), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    parent: Mapped[str | None] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(200))
    claim: Mapped[str] = mapped_column(Text)
    hypothesis: Mapped[str] = mapped_column(Text, default="", server_default="")
    """The score that its author expected, frozen with the code."""
    identity: Mapped[str] = mapped_column(String(64), default="", server_default="", index=True)
    """Equal for submissions of one place on the board: the digest; in older rows, SHA-256 of the syntax trees."""
    charged_runs: Mapped[int] = mapped_column(default=0, server_default="0")
    """Scoring runs that were counted against the quotas when it was submitted."""
    families: Mapped[list[str]] = mapped_column(JSON, default=list)
    state: Mapped[str] = mapped_column(String(16))
    """queued, scoring, measured, rejected; held: disqualified before it was run."""
    status: Mapped[str] = mapped_column(String(16), default="claimed")
    """claimed, measured, confirmed, refuted."""
    disqualified: Mapped[str] = mapped_column(String(64), default="", server_default="")
    """The rule that takes it off the board; empty while it is on it."""
    verdict: Mapped[str] = mapped_column(Text, default="")
    """For the researcher: the score as shown, or the reason that there is none."""
    telling: Mapped[str] = mapped_column(String(8), default="", server_default="")
    """Disclosure of the number to researchers: empty for yes, low for yes although it is low, kept for no,
    spent for no more."""
    mean: Mapped[float | None]
    standard_error: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    freedom: Mapped[float | None]
    """Student's degrees of freedom of ``standard_error``; None where it was scored before they were stored."""
    by_domain: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    seeds: Mapped[int] = mapped_column(default=0)
    idempotency_key: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (
        UniqueConstraint("campaign_id", "number"),
        UniqueConstraint("campaign_id", "idempotency_key"),
    )


class ScoringRun(Base):
    """One clean-room execution of a submission on one domain and split."""

    __tablename__ = "scoring_run"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"), index=True)
    index: Mapped[int]
    stage: Mapped[str] = mapped_column(String(16))
    """The key of its phase: measure, confirm, transfer, permuted, noise-20, coordinates."""
    check_id: Mapped[int | None] = mapped_column(ForeignKey("submission_check.id"))
    """The check that it belongs to; None for the measurement."""
    domain: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int] = mapped_column(BigInteger)
    split_seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    """queued, running, scored, failed, skipped."""
    verdict: Mapped[str] = mapped_column(Text, default="")
    output_digest: Mapped[str | None] = mapped_column(String(64))
    parts: Mapped[dict[str, float]] = mapped_column(JSON, default=dict)
    """The parts that the problem measured; never shown to a researcher."""
    seconds: Mapped[float] = mapped_column(default=0.0)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    __table_args__ = (UniqueConstraint("submission_id", "stage", "index"),)


class SubmissionCheck(Base):
    """A check of a measured submission: a confirmation, or a transfer run."""

    __tablename__ = "submission_check"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"), index=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    """confirmation, transfer."""
    state: Mapped[str] = mapped_column(String(16), default="queued")
    """queued, running, done, failed."""
    cause: Mapped[str] = mapped_column(Text, default="")
    """The reason for the request."""
    by: Mapped[str] = mapped_column(String(64), default="")
    """The requester: "scorer", or a person."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class StageEstimate(Base):
    """A submission's pooled score in one phase other than the measurement."""

    __tablename__ = "stage_estimate"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"))
    stage: Mapped[str] = mapped_column(String(16))
    """The phase's key, as in ``ScoringRun.stage``."""
    mean: Mapped[float]
    standard_error: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    freedom: Mapped[float | None]
    seeds: Mapped[int]
    by_domain: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    __table_args__ = (UniqueConstraint("submission_id", "stage"),)


class StatusChange(Base):
    """One change of a submission's status; rows are only ever added."""

    __tablename__ = "status_change"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"), index=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"), index=True)
    old: Mapped[str] = mapped_column(String(16))
    new: Mapped[str] = mapped_column(String(16))
    """claimed, measured, rejected, confirmed, refuted, disqualified, reinstated."""
    cause: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(64))
    """The author: "scorer", an audit's name, or a person."""
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)


class AuditFinding(Base):
    """A finding of an audit; rows are only added, the newest counts."""

    __tablename__ = "audit_finding"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"), index=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"), index=True)
    audit: Mapped[str] = mapped_column(String(32))
    verdict: Mapped[str] = mapped_column(String(16))
    """passed, labelled, flagged, disqualified, skipped."""
    rule: Mapped[str] = mapped_column(String(64), default="")
    reason: Mapped[str] = mapped_column(Text)
    evidence: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
