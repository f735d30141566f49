"""The offline researcher's knowledge, as parsed from its conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aar.problems.search_space import Genome


@dataclass(frozen=True, slots=True)
class ObservedScore:
    """A measured score as shown to the researcher, rounded."""

    mean: float
    error: float


@dataclass(slots=True)
class MethodAttempt:
    """One method of this researcher, from its files to its post."""

    directory: str
    genome: Genome | None = None
    written: set[str] = field(default_factory=set)
    failures: int = 0
    """Calls about it that failed, or whose effect is unknown."""
    works: bool | None = None
    """None until a trial ended with a known result."""
    trial: str = ""
    parent: int | None = None
    submission: int | None = None
    refusal: str = ""
    """Reason for the refusal of its submission."""
    score: ObservedScore | None = None
    verdict: str = ""
    """Reason for a missing score."""
    waits: int = 0
    posted: bool = False

    @property
    def is_done(self) -> bool:
        """Return whether nothing is left to do for it."""
        return self.posted or self.works is False or bool(self.refusal)


@dataclass(slots=True)
class SearchState:
    """The complete knowledge of one researcher."""

    attempts: list[MethodAttempt] = field(default_factory=list)
    board: dict[int, tuple[str, ObservedScore]] = field(default_factory=dict)
    """Submission number to researcher and score, from the newest leaderboard."""
    genomes: dict[int, Genome] = field(default_factory=dict)
    """Submission number to genome, if known."""
    fetched: dict[int, str] = field(default_factory=dict)
    """Submission number to the directory of its snapshot; empty if the fetch failed."""
    read: set[int] = field(default_factory=set)
    """Submissions whose fetched code was read."""
    own_posts: set[int] = field(default_factory=set)
    posts: dict[int, int] = field(default_factory=dict)
    """Submission number to the post about it, from the forum's mirror."""
    voted: set[int] = field(default_factory=set)
    looked_after: int = -1
    """Number of attempts at the last reading of the board; -1: never."""
    stopped: str = ""
    """A tool's message about a reached limit."""
    announced: bool = False
    summed_up: bool = False
    finished: bool = False
    steering: dict[int, list[str]] = field(default_factory=dict)
    """Post number to the messages of people there."""
    answered: set[int] = field(default_factory=set)
    """Posts commented on."""
    earlier: int = 0
    """Own submissions known only from the notebook, because their conversation was replaced."""

    @property
    def submitted_attempts(self) -> list[MethodAttempt]:
        """Return the own attempts that were accepted."""
        return [attempt for attempt in self.attempts if attempt.submission is not None]


def measured_scores(memory: SearchState) -> Sequence[tuple[int, str, ObservedScore]]:
    """Return the measured submissions with their authors.

    They are those of the board and newer own ones. The author of an own one is empty.
    """
    scores = dict(memory.board)
    for attempt in memory.submitted_attempts:
        if attempt.score is not None and attempt.submission is not None:
            scores.setdefault(attempt.submission, ("", attempt.score))
    return [(number, who, score) for number, (who, score) in sorted(scores.items())]
