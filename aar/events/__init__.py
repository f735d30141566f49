"""Typed records of events: the kinds that the append-only log holds.

An event is written *before* its effect is acted on (a turn before its tools run) or in the same transaction as the
rows it changes (a post, a score). The live view, SSE, transcripts, resume and reports read nothing else.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from aar.events.campaign import (
    CampaignCreated,
    CampaignFinished,
    CampaignPaused,
    CampaignStarted,
    ControlRequested,
    DiversityFell,
    DiversityMeasured,
    Event,  # noqa: F401 - the base class, for other packages
    LimitHit,
    LimitNear,
    ServiceFailed,
)
from aar.events.forum import (
    ClaimMade,
    ClaimReleased,
    CommentCreated,
    PostCreated,
    PostPinned,
    ResearchersMentioned,
    TextEdited,
    TextRetracted,
    VoteCast,
)
from aar.events.research import (
    BlockBegun,
    ContextReset,
    MessageAdded,
    ModelCalled,
    ModelCallFailed,
    ModelServiceRecovered,
    ModelServiceUnavailable,
    ResearcherStarted,
    ResearcherStateChanged,
    SandboxCreated,
    SandboxIncident,
    SandboxLost,
    ToolFinished,
    ToolStarted,
    TurnReceived,
    UsageDoubted,
)
from aar.events.scoring import (
    AuditFinished,
    CheckFinished,
    CheckStarted,
    ProblemFailed,
    ScoringRunFinished,
    ScoringStarted,
    SnapshotTaken,
    StatusChanged,
    SubmissionMeasured,
    SubmissionReceived,
    SubmissionRejected,
)

AnyEvent = Annotated[
    CampaignCreated
    | CampaignStarted
    | CampaignPaused
    | CampaignFinished
    | ControlRequested
    | ServiceFailed
    | ResearcherStarted
    | ResearcherStateChanged
    | SandboxCreated
    | SandboxLost
    | SandboxIncident
    | MessageAdded
    | ContextReset
    | ModelCalled
    | TurnReceived
    | BlockBegun
    | ModelCallFailed
    | ModelServiceUnavailable
    | ModelServiceRecovered
    | UsageDoubted
    | ToolStarted
    | ToolFinished
    | PostCreated
    | CommentCreated
    | VoteCast
    | TextEdited
    | TextRetracted
    | PostPinned
    | ResearchersMentioned
    | ClaimMade
    | ClaimReleased
    | SnapshotTaken
    | SubmissionReceived
    | ScoringStarted
    | ScoringRunFinished
    | SubmissionMeasured
    | SubmissionRejected
    | ProblemFailed
    | LimitHit
    | LimitNear
    | DiversityMeasured
    | DiversityFell
    | CheckStarted
    | CheckFinished
    | AuditFinished
    | StatusChanged,
    Field(discriminator="kind"),
]

_adapter: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse_event(payload: dict[str, Any]) -> AnyEvent:
    """Parse the typed event of a stored payload.

    Raises pydantic.ValidationError for an unknown kind or a missing field.
    """
    return _adapter.validate_python(payload)
