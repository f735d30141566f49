"""What a researcher knows, read anew from its conversation at every turn: nothing is kept between requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from aar.problems.repertoire import Genome, Repertoire
from aar.researcher.offline.conversation import Conversation, Step

EDITOR = "str_replace_based_edit_tool"
UNKNOWN_EFFECT = "its effect is unknown"
"""In a tool's result after a restart of the controller: the call may or may not have happened."""

_ROW = re.compile(r"^\s*\d+\s+s(\d+)\s+(\S+)\s+(-?\d*\.?\d+)\s+(?:±\s*)?(\d*\.?\d+)", re.MULTILINE)
_RECEIVED = re.compile(r"^Submission s(\d+) received", re.MULTILINE)
_MEASURED = re.compile(r"^s(\d+) measured: (\S+) (-?\d*\.?\d+) ± (\d*\.?\d+)", re.MULTILINE)
_REJECTED = re.compile(r"^s(\d+) rejected: (.*)", re.MULTILINE)
_WRITTEN_TO = re.compile(r"^Snapshot \S+ written to (.+):\s*$", re.MULTILINE)
_POSTED = re.compile(r"^Post #(\d+) created", re.MULTILINE)
_ABOUT = re.compile(r"^- post #(\d+), \w+, by .*\n- about submission s(\d+)$", re.MULTILINE)
_GENOME_OF = re.compile(r"^== (.+)$", re.MULTILINE)
_LIMIT = re.compile(r"\blimit\b.*\breached\b|\bno submissions? left\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Score:
    """A measured score as the researcher sees it, rounded."""

    mean: float
    error: float


@dataclass(slots=True)
class Attempt:
    """One method of this researcher, from its files to its post."""

    directory: str
    genome: Genome | None = None
    written: set[str] = field(default_factory=set)
    tries: int = 0
    works: bool | None = None
    """None until a trial ended with a known result."""
    trial: str = ""
    parent: int | None = None
    submission: int | None = None
    refusal: str = ""
    """Why the submission was not taken."""
    score: Score | None = None
    verdict: str = ""
    """Why it has no score."""
    waits: int = 0
    posted: bool = False

    @property
    def closed(self) -> bool:
        """Whether nothing is left to do about it."""
        return self.posted or self.works is False or bool(self.refusal)


@dataclass(slots=True)
class Memory:
    """All that is known."""

    attempts: list[Attempt] = field(default_factory=list)
    board: dict[int, tuple[str, Score]] = field(default_factory=dict)
    """Submission number to researcher and score, from the newest leaderboard."""
    genomes: dict[int, Genome] = field(default_factory=dict)
    """Submission number to genome, where it is known."""
    fetched: dict[int, str] = field(default_factory=dict)
    """Submission number to the directory of its snapshot; empty where the fetch failed."""
    read: set[int] = field(default_factory=set)
    """Submissions whose fetched code was looked at."""
    own_posts: set[int] = field(default_factory=set)
    posts: dict[int, int] = field(default_factory=dict)
    """Submission number to the post about it, from the forum's mirror."""
    voted: set[int] = field(default_factory=set)
    looked_after: int = -1
    """Number of attempts there were when the board was last read; -1: never."""
    stopped: str = ""
    """What a tool said about a limit that is reached."""
    announced: bool = False
    summed_up: bool = False
    finished: bool = False
    steering: list[str] = field(default_factory=list)
    """What people said."""

    @property
    def submitted(self) -> list[Attempt]:
        """Own attempts that were taken."""
        return [attempt for attempt in self.attempts if attempt.submission is not None]


def remember(conversation: Conversation, repertoire: Repertoire) -> Memory:
    """Read a conversation. Results that are missing or cleared leave the memory without what they said."""
    memory = Memory()
    for exchange in conversation.exchanges:
        for step in exchange.steps:
            reader = _READERS.get(step.tool)
            if step.failed and _LIMIT.search(step.result):
                memory.stopped = step.result.strip().splitlines()[0][:300]
            if reader is not None:
                reader(memory, step, repertoire)
        memory.steering.extend(text for text in exchange.told if "person" in text)
    return memory


def _read_editor(memory: Memory, step: Step, repertoire: Repertoire) -> None:
    if step.asked("command") != "create":
        return
    path = PurePosixPath(step.asked("path"))
    directory = str(path.parent)
    if not memory.attempts or memory.attempts[-1].directory != directory:
        memory.attempts.append(Attempt(directory))
    attempt = memory.attempts[-1]
    attempt.tries += 1
    if path.name == "run.py":
        attempt.genome = repertoire.parse(step.asked("file_text"))
    found = re.search(r"^parent: s(\d+)", step.asked("file_text"), re.MULTILINE)
    if path.name == "method.yaml" and found:
        attempt.parent = int(found.group(1))
    if not step.failed:
        attempt.written.add(path.name)


def _read_bash(memory: Memory, step: Step, repertoire: Repertoire) -> None:
    purpose = step.asked("command").partition("\n")[0]
    if purpose.startswith("# look"):
        for post, submission in _ABOUT.findall(step.result):
            memory.posts.setdefault(int(submission), int(post))
    elif purpose.startswith("# try ") and memory.attempts:
        attempt = memory.attempts[-1]
        attempt.tries += 1
        if UNKNOWN_EFFECT not in step.result:
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


def _read_submit(memory: Memory, step: Step, _: Repertoire) -> None:
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


def _read_wait(memory: Memory, step: Step, _: Repertoire) -> None:
    by_number = {attempt.submission: attempt for attempt in memory.submitted}
    asked = by_number.get(int(step.asked("id").removeprefix("s") or 0)) if step.asked("for") == "submission" else None
    if asked is None:
        return
    asked.waits += 1
    for number, _name, mean, error in _MEASURED.findall(step.result):
        if attempt := by_number.get(int(number)):
            attempt.score = Score(float(mean), float(error))
    for number, verdict in _REJECTED.findall(step.result):
        if attempt := by_number.get(int(number)):
            attempt.verdict = verdict.strip()


def _read_leaderboard(memory: Memory, step: Step, _: Repertoire) -> None:
    memory.looked_after = len(memory.attempts)
    if not step.failed:
        memory.board = {int(n): (who, Score(float(m), float(e))) for n, who, m, e in _ROW.findall(step.result)}


def _read_fetch(memory: Memory, step: Step, _: Repertoire) -> None:
    number = step.asked("snapshot").removeprefix("s")
    found = _WRITTEN_TO.search(step.result)
    if number.isdigit():
        memory.fetched[int(number)] = found.group(1) if found and not step.failed else ""


def _read_post(memory: Memory, step: Step, _: Repertoire) -> None:
    created = _POSTED.search(step.result)
    if created:
        memory.own_posts.add(int(created.group(1)))
    if step.asked("kind") == "hypothesis":
        memory.announced = True
    elif step.asked("submission"):
        for attempt in memory.submitted:
            if f"s{attempt.submission}" == step.asked("submission"):
                attempt.posted = True
    elif step.asked("title").startswith("Summary"):
        memory.summed_up = True


def _read_vote(memory: Memory, step: Step, _: Repertoire) -> None:
    memory.voted.add(int(step.asked("post")))


def _read_finish(memory: Memory, step: Step, _: Repertoire) -> None:
    memory.finished = memory.finished or not step.failed


_READERS = {
    EDITOR: _read_editor,
    "bash": _read_bash,
    "submit_method": _read_submit,
    "wait": _read_wait,
    "leaderboard": _read_leaderboard,
    "fetch_snapshot": _read_fetch,
    "post": _read_post,
    "vote": _read_vote,
    "finish": _read_finish,
}


def best_of(memory: Memory) -> Sequence[tuple[int, Score]]:
    """Measured submissions, own and on the board, best first."""
    scores = {number: score for number, (_, score) in memory.board.items()}
    scores |= {a.submission: a.score for a in memory.submitted if a.score is not None and a.submission is not None}
    return sorted(scores.items(), key=lambda item: (-item[1].mean, item[0]))
