"""The next turn: a pure function of the seed, the researcher's name and direction, and the conversation so far."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from random import Random

from aar.problems.repertoire import Repertoire
from aar.researcher.offline import SELF, writing
from aar.researcher.offline.conversation import Conversation
from aar.researcher.offline.evolution import Measured, Proposal, propose
from aar.researcher.offline.memory import EDITOR, Attempt, Memory, best_of, remember
from aar.researcher.offline.repertoires import repertoire_of
from aar.researcher.offline.reply import Call, Turn

MAX_SUBMISSIONS = 8
MAX_FETCHES = 4
"""Snapshots fetched in one turn."""
MAX_WAITS = 8
MAX_TRIES = 5
"""Tool calls on one method's files and trial before it is given up."""
MAX_FAILURES = 4
"""Methods in a row that came to nothing before the researcher gives up."""
WAIT_SECONDS = 900
METHODS = "/workspace/methods"
RESEARCH_DATA = "/data"

LOOK = """# look at the data, and at the forum: which post is about which submission
ls -l /data/* 2>/dev/null | head -n 60
grep -hE '^- (post #|about submission s)[0-9]+' /forum/posts/*.md 2>/dev/null | tail -n 200
true"""


class Researcher:
    """Plays the researchers of one seed; it keeps nothing between turns."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def next_turn(self, conversation: Conversation) -> Turn:
        """What the researcher of this conversation says and does next."""
        repertoire = repertoire_of(conversation.problem)
        if repertoire is None:
            return _without_repertoire(conversation)
        memory = remember(conversation, repertoire)
        return _Deliberation(self._seed, conversation, memory, repertoire).turn()


def _without_repertoire(conversation: Conversation) -> Turn:
    if any(step.tool == "finish" for exchange in conversation.exchanges for step in exchange.steps):
        return Turn(f"[{SELF}] I have finished.")
    text = (
        f"{SELF}: the problem {conversation.problem or '(none named)'} ships no repertoire of components, and a search "
        "program cannot invent methods for it. Give the problem a repertoire() or use a language model."
    )
    return Turn(f"[{SELF}] There is nothing that I can search here.", [Call("finish", {"summary": text})])


@dataclass(frozen=True, slots=True)
class _Deliberation:
    """One decision."""

    seed: int
    conversation: Conversation
    memory: Memory
    repertoire: Repertoire

    def turn(self) -> Turn:
        memory = self.memory
        if memory.finished:
            return Turn(f"[{SELF}] I have finished.")
        current = memory.attempts[-1] if memory.attempts else None
        if current is not None and not current.closed:
            return self._go_on(current)
        if memory.stopped or self._submissions() >= MAX_SUBMISSIONS or self._failures() >= MAX_FAILURES:
            return self._end()
        if memory.looked_after < len(memory.attempts):
            return self._say("I look at the board and the forum.", Call("leaderboard"), Call("bash", {"command": LOOK}))
        return self._study() or self._write()

    def _rng(self, purpose: str) -> Random:
        name, key = self.conversation.researcher, self.conversation.direction_key
        return Random(f"{self.seed}:{name}:{key}:{purpose}:{len(self.memory.attempts)}")  # noqa: S311

    @property
    def _direction(self) -> str:
        return "\n".join([self.conversation.direction, *self.memory.steering])

    def _say(self, text: str, *calls: Call) -> Turn:
        return Turn(f"[{SELF}] {text}", calls)

    def _submissions(self) -> int:
        name = self.conversation.researcher
        return max(len(self.memory.submitted), sum(who == name for who, _ in self.memory.board.values()))

    def _failures(self) -> int:
        """Methods at the end of the record that came to nothing."""
        count = 0
        for attempt in reversed(self.memory.attempts):
            if attempt.score is not None:
                break
            count += 1
        return count

    def _study(self) -> Turn | None:
        """Fetch and read the code of measured methods whose genome is not known yet, the best first."""
        memory = self.memory
        unknown = [n for n, _ in best_of(memory) if n not in memory.genomes and n not in memory.fetched]
        if unknown:
            calls = [Call("fetch_snapshot", {"snapshot": f"s{number}"}) for number in unknown[:MAX_FETCHES]]
            return self._say("I fetch the code of methods that I do not know yet.", *calls)
        unread = sorted({path for n, path in memory.fetched.items() if path and n not in memory.read})
        if not unread or memory.looked_after < 0:
            return None
        names = " ".join(shlex.quote(path) for path in unread)
        command = (
            "# read genomes\n"
            f"for method in {names}; do\n"
            '  echo "== $method"; sed -n \'/^GENOME = {/,/^}/p\' "$method/run.py" | head -n 60\ndone'
        )
        return self._say("I read how they are made.", Call("bash", {"command": command}))

    def _write(self) -> Turn:
        proposal = self._proposal()
        parent = f"s{proposal.parent}" if proposal.parent is not None else None
        description = self.repertoire.describe(proposal.genome)
        directory = f"{METHODS}/m{len(self.memory.attempts) + 1}"
        files = self.repertoire.render(proposal.genome, parent=parent)
        calls = [
            Call(EDITOR, {"command": "create", "path": f"{directory}/{name}", "file_text": text})
            for name, text in files.items()
        ]
        if not self.memory.announced:
            calls.append(writing.hypothesis(self.conversation.direction, description))
        return Turn(writing.plan(proposal, description), calls)

    def _proposal(self) -> Proposal:
        memory = self.memory
        last = memory.attempts[-1] if memory.attempts else None
        if last is not None and last.genome is not None and (last.works is False or last.verdict):
            simpler = self.repertoire.simplify(last.genome)
            if simpler != last.genome:
                return Proposal(simpler, last.parent, "simplified because the last one failed")
        measured = [
            Measured(number, memory.genomes[number], score.mean, score.error)
            for number, score in best_of(memory)
            if number in memory.genomes
        ]
        tried = [method.genome for method in measured]
        tried += [attempt.genome for attempt in memory.attempts if attempt.genome is not None]
        return propose(self._rng("propose"), self.repertoire, self._direction, measured, tried)

    def _go_on(self, attempt: Attempt) -> Turn:
        """The next step of a method that is under way."""
        if attempt.genome is None or attempt.tries > MAX_TRIES:
            return self._end()
        if attempt.submission is not None:
            return self._follow(attempt)
        missing = {
            name: text
            for name, text in self.repertoire.render(attempt.genome, parent=_name(attempt.parent)).items()
            if name not in attempt.written
        }
        if missing:
            calls = [
                Call(EDITOR, {"command": "create", "path": f"{attempt.directory}/{name}", "file_text": text})
                for name, text in missing.items()
            ]
            return self._say("I write again what could not be written.", *calls)
        if attempt.works is None:
            command = f"# try {attempt.directory}\n{self.repertoire.trial(attempt.directory, RESEARCH_DATA)}"
            return self._say("I run it on the research data.", Call("bash", {"command": command}))
        arguments = {"path": attempt.directory}
        if attempt.parent is not None:
            arguments["parent"] = f"s{attempt.parent}"
        return self._say("It runs; I hand it in.", Call("submit_method", arguments))

    def _follow(self, attempt: Attempt) -> Turn:
        """Wait for the verdict, then tell the others."""
        if attempt.score is None and not attempt.verdict and attempt.waits < MAX_WAITS:
            number = f"s{attempt.submission}"
            wait = Call("wait", {"for": "submission", "id": number, "timeout_seconds": WAIT_SECONDS})
            return self._say(f"I wait for the score of {number}.", wait)
        calls = [writing.result(attempt, self.memory, self.repertoire)]
        calls += self._reactions(attempt)
        return self._say("I tell the others.", *calls)

    def _reactions(self, attempt: Attempt) -> list[Call]:
        """A vote for, and sometimes a comment on, the post about somebody else's method that this one builds on."""
        memory = self.memory
        post = memory.posts.get(attempt.parent or 0)
        scores = dict(best_of(memory))
        if post is None or post in memory.own_posts or attempt.score is None or attempt.parent not in scores:
            return []
        calls: list[Call] = []
        if attempt.score.mean > scores[attempt.parent].mean and post not in memory.voted:
            calls.append(Call("vote", {"post": post, "value": 1}))
        if self._rng("comment").random() < 0.5:
            calls.append(writing.comment(attempt, post))
        return calls

    def _end(self) -> Turn:
        text = writing.summary(self.memory, self.conversation.researcher, self.repertoire)
        if not self.memory.summed_up:
            return self._say("I sum up.", writing.summary_post(text))
        return self._say("I am done.", Call("finish", {"summary": text}))


def _name(number: int | None) -> str | None:
    return None if number is None else f"s{number}"
