"""The offline researcher's knowledge, and its parser: from the conversation alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from aar.problems.search_space import Genome, SearchSpace
from aar.researcher.offline.conversation import ObservedConversation, ToolStep


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


EDITOR = "str_replace_based_edit_tool"
NOTEBOOK = "/workspace/NOTEBOOK.md"
UNKNOWN_EFFECT = "effect is unknown"
"""In a tool's result after the controller restarted or the sandbox was lost: the call may or may not have happened."""

_NUMBER = r"(-?\d+(?:\.\d+)?)"
_ROW = re.compile(r"^[ \t]*\d+[ \t]+s(\d+)[ \t]+(\S+)[ \t]+" + _NUMBER + r"[ \t]+(?:±[ \t]*)?" + _NUMBER, re.MULTILINE)
_RECEIVED = re.compile(r"^Submission s(\d+) received", re.MULTILINE)
_MEASURED = re.compile(r"^s(\d+) measured: (\S+) " + _NUMBER + " ± " + _NUMBER, re.MULTILINE)
_REJECTED = re.compile(r"^s(\d+) (?:rejected|disqualified|measured, number withheld): (.*)", re.MULTILINE)
_WRITTEN_TO = re.compile(r"^Snapshot \S+ written to (.+):\s*$", re.MULTILINE)
_POSTED = re.compile(r"^Post #(\d+) created", re.MULTILINE)
_ABOUT = re.compile(r"^- post #(\d+), \w+, by .*\n- about submission s(\d+)$", re.MULTILINE)
_GENOME_OF = re.compile(r"^== (.+)$", re.MULTILINE)
_EXISTS = re.compile(r"^(/\S+) exists already", re.MULTILINE)
_NOTED = re.compile(r"^- s(\d+) by (\S+): " + _NUMBER + " ± " + _NUMBER + r" (GENOME = \{.*\})$", re.MULTILINE)
_FROM_A_PERSON = re.compile(r"^\S+, a person, (?:posted|commented on (?:your )?post) #(\d+)")
_LIMIT = re.compile(r"\blimit\b", re.IGNORECASE)
_REACHED = re.compile(r"\breached\b", re.IGNORECASE)
_NONE_LEFT = re.compile(r"\bno submissions? left\b", re.IGNORECASE)


def parse_state(conversation: ObservedConversation, repertoire: SearchSpace) -> SearchState:
    """Parse a conversation.

    Earlier conversations are known as far as the opening's notebook has them.
    """
    memory = SearchState()
    for number, who, mean, error, literal in _NOTED.findall(conversation.opening):
        genome = repertoire.parse(literal)
        memory.board[int(number)] = (who, ObservedScore(float(mean), float(error)))
        memory.announced = True
        memory.earlier += who == conversation.researcher
        if genome is not None:
            memory.genomes[int(number)] = genome
    for exchange in conversation.exchanges:
        for step in exchange.steps:
            reader = _READERS.get(step.tool)
            if step.failed and _at_a_limit(step.result):
                memory.stopped = step.result.strip().splitlines()[0][:300]
            if reader is not None:
                reader(memory, step, repertoire)
        for text in exchange.messages:
            if said := _FROM_A_PERSON.match(text):
                memory.steering.setdefault(int(said.group(1)), []).append(text)
    return memory


def _at_a_limit(said: str) -> bool:
    if _NONE_LEFT.search(said):
        return True
    first = [(line, found) for line in said.splitlines() if (found := _LIMIT.search(line)) is not None]
    return any(_REACHED.search(line, found.end()) for line, found in first)


def _read_editor(memory: SearchState, step: ToolStep, repertoire: SearchSpace) -> None:
    if step.input_text("command") != "create":
        return
    path = PurePosixPath(step.input_text("path"))
    directory = str(path.parent)
    if str(path) == NOTEBOOK:
        return
    if not memory.attempts or memory.attempts[-1].directory != directory:
        memory.attempts.append(MethodAttempt(directory))
    attempt = memory.attempts[-1]
    attempt.failures += step.failed
    if path.name == "run.py":
        attempt.genome = repertoire.parse(step.input_text("file_text"))
    found = re.search(r"^parent: s(\d+)", step.input_text("file_text"), re.MULTILINE)
    if path.name == "method.yaml" and found:
        attempt.parent = int(found.group(1))
    if not step.failed:
        attempt.written.add(path.name)


def _read_bash(memory: SearchState, step: ToolStep, repertoire: SearchSpace) -> None:
    purpose = step.input_text("command").partition("\n")[0]
    if purpose.startswith("# look"):
        for post, submission in _ABOUT.findall(step.result):
            memory.posts.setdefault(int(submission), int(post))
    elif purpose.startswith("# try ") and memory.attempts:
        attempt = memory.attempts[-1]
        if UNKNOWN_EFFECT in step.result:
            attempt.failures += 1
        else:
            attempt.works, attempt.trial = "trial: ok" in step.result, step.result.strip()
    elif purpose.startswith("# read genomes"):
        parts = _GENOME_OF.split(step.result)
        texts = dict(zip(parts[1::2], parts[2::2], strict=True))
        for number, directory in memory.fetched.items():
            if directory in texts:
                memory.read.add(number)
                genome = repertoire.parse(texts[directory])
                if genome is not None:
                    memory.genomes[number] = genome


def _read_submit(memory: SearchState, step: ToolStep, _: SearchSpace) -> None:
    if not memory.attempts:
        return
    attempt = memory.attempts[-1]
    received = _RECEIVED.search(step.result)
    if received and not step.failed:
        attempt.submission = int(received.group(1))
        if attempt.genome is not None:
            memory.genomes[attempt.submission] = attempt.genome
    else:
        attempt.refusal = step.result.strip()[:300] or "refused"


def _read_wait(memory: SearchState, step: ToolStep, _: SearchSpace) -> None:
    by_number = {attempt.submission: attempt for attempt in memory.submitted_attempts}
    asked = (
        by_number.get(int(step.input_text("id").removeprefix("s") or 0))
        if step.input_text("for") == "submission"
        else None
    )
    if asked is None:
        return
    asked.waits += 1
    for number, _name, mean, error in _MEASURED.findall(step.result):
        if attempt := by_number.get(int(number)):
            attempt.score = ObservedScore(float(mean), float(error))
    for number, verdict in _REJECTED.findall(step.result):
        if attempt := by_number.get(int(number)):
            attempt.verdict = verdict.strip()


def _read_leaderboard(memory: SearchState, step: ToolStep, _: SearchSpace) -> None:
    memory.looked_after = len(memory.attempts)
    if not step.failed:
        memory.board = {int(n): (who, ObservedScore(float(m), float(e))) for n, who, m, e in _ROW.findall(step.result)}


def _read_fetch(memory: SearchState, step: ToolStep, _: SearchSpace) -> None:
    number = step.input_text("snapshot").removeprefix("s")
    found = (_EXISTS if step.failed else _WRITTEN_TO).search(step.result)
    if number.isdigit() and UNKNOWN_EFFECT not in step.result:
        memory.fetched[int(number)] = found.group(1) if found else ""


def _read_post(memory: SearchState, step: ToolStep, _: SearchSpace) -> None:
    created = _POSTED.search(step.result)
    if created:
        memory.own_posts.add(int(created.group(1)))
    if step.input_text("kind") == "hypothesis":
        memory.announced = True
    elif step.input_text("submission"):
        for attempt in memory.submitted_attempts:
            if f"s{attempt.submission}" == step.input_text("submission"):
                attempt.posted = True
    elif step.input_text("title").startswith("Summary"):
        memory.summed_up = True


def _read_comment(memory: SearchState, step: ToolStep, _: SearchSpace) -> None:
    memory.answered.add(int(step.input_text("post")))


def _read_vote(memory: SearchState, step: ToolStep, _: SearchSpace) -> None:
    memory.voted.add(int(step.input_text("post")))


def _read_finish(memory: SearchState, step: ToolStep, _: SearchSpace) -> None:
    memory.finished = memory.finished or not step.failed


_READERS = {
    EDITOR: _read_editor,
    "bash": _read_bash,
    "submit_method": _read_submit,
    "wait": _read_wait,
    "leaderboard": _read_leaderboard,
    "fetch_snapshot": _read_fetch,
    "post": _read_post,
    "comment": _read_comment,
    "vote": _read_vote,
    "finish": _read_finish,
}
