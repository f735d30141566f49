"""Every table by topic: the schema that the migrations build."""

from __future__ import annotations

from aar.store.models.base import Base
from aar.store.models.budget import LedgerEntry
from aar.store.models.campaign import Campaign, Control, Researcher
from aar.store.models.events import EventRecord
from aar.store.models.forum import Claim, Comment, Figure, Post, Revision, Vote
from aar.store.models.scoring import (
    AuditFinding,
    ScoringRun,
    StageEstimate,
    StatusChange,
    Submission,
    SubmissionCheck,
)
from aar.store.models.snapshots import Snapshot

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
