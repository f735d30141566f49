"""Every table by topic: the schema that the migrations build."""

from __future__ import annotations

from aar.store.column_types import Base
from aar.store.models.campaign import Campaign, Control, EventRecord, LedgerEntry, Researcher, Snapshot
from aar.store.models.forum import Claim, Comment, Figure, Post, Revision, Vote
from aar.store.models.scoring import (
    AuditFinding,
    ScoringRun,
    StageEstimate,
    StatusChange,
    Submission,
    SubmissionCheck,
)

__all__ = [
    "AuditFinding",
    "Base",
    "Campaign",
    "Claim",
    "Comment",
    "Control",
    "EventRecord",
    "Figure",
    "LedgerEntry",
    "Post",
    "Researcher",
    "Revision",
    "ScoringRun",
    "Snapshot",
    "StageEstimate",
    "StatusChange",
    "Submission",
    "SubmissionCheck",
    "Vote",
]
