"""The next turn: a pure function of the seed, the researcher's name and direction, and the conversation so far."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from random import Random

from aar.researcher.offline import SELF, texts
from aar.researcher.offline.observed_conversation import Conversation
from aar.researcher.offline.planned_turn import Call, Turn
from aar.researcher.offline.search import Measured, Proposal, propose
from aar.researcher.offline.search_problem import Trade, trade_of
from aar.researcher.offline.search_state import Attempt, Memory, Score, scores_of
from aar.researcher.offline.state_parser import EDITOR, NOTEBOOK, remember

MAX_SUBMISSIONS = 8
MAX_FETCHES = 4
"""Snapshots fetched in one turn."""
MAX_WAITS = 8
MAX_SETBACKS = 4
"""Failed calls on one method before it is given up."""
MAX_FAILURES = 4
"""Methods in a row that came to nothing before the researcher gives up."""
WAIT_SECONDS = 900
METHODS = "/workspace/methods"
RESEARCH_DATA = "/data"

LOOK = """# look at the data, and at the forum: which post is about which submission
ls -l /data/* 2>/dev/null | head -n 60
grep -hE '^- (post #|about submission s)[0-9]+' /forum/posts/*.md 2>/dev/null | tail -n 200
true"""

READ = """# read genomes
for method in {names}; do
  echo "== $method"; sed -n '/^GENOME = {{/,/^}}/p' "$method/run.py" | head -n 60
done"""


class Researcher:
    """Plays the researchers of one seed; it keeps nothing between turns."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def next_turn(self, conversation: Conversation) -> Turn:
        """What the researcher of this conversation says and does next.

        Raises:
            ProblemError: the conversation's problem cannot be loaded.
        """
        trade = trade_of(conversation.problem)
        if trade is None:
            return _without_repertoire(conversation)
        return _Deliberation(self._seed, conversation, remember(conversation, trade.repertoire), trade).turn()


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
    trade: Trade

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
            return self._look()
        return self._study() or self._write()

    def _say(self, text: str, *calls: Call) -> Turn:
        return Turn(f"[{SELF}] {text}", calls)

    def _rng(self, purpose: str) -> Random:
        name, key = self.conversation.researcher, self.conversation.direction_key
        methods = self.memory.earlier + len(self.memory.attempts)
        return Random(f"{self.seed}:{name}:{key}:{purpose}:{methods}")  # noqa: S311 - must repeat

    def _ranked(self) -> list[tuple[int, str, Score]]:
        """Measured submissions, best first."""
        return sorted(scores_of(self.memory), key=lambda row: (-self.trade.sign * row[2].mean, row[0]))

    def _submissions(self) -> int:
        own = sum(who == self.conversation.researcher for who, _ in self.memory.board.values())
        return max(self.memory.earlier + len(self.memory.submitted), own)

    def _failures(self) -> int:
        """Methods at the end of the record that came to nothing."""
        count = 0
        for attempt in reversed(self.memory.attempts):
            if attempt.score is not None:
                break
            count += 1
        return count

    def _look(self) -> Turn:
        replies = [texts.answer(post) for post in self.memory.steering if post not in self.memory.answered]
        look = Call("bash", {"command": LOOK})
        return self._say("I look at the board and the forum.", Call("leaderboard", {"limit": 50}), look, *replies)

    def _study(self) -> Turn | None:
        """Fetch and read the code of measured methods whose genome is not known yet, the best first."""
        memory = self.memory
        unknown = [n for n, _, _ in self._ranked() if n not in memory.genomes and n not in memory.fetched]
        if unknown:
            calls = [Call("fetch_snapshot", {"snapshot": f"s{number}"}) for number in unknown[:MAX_FETCHES]]
            return self._say("I fetch the code of methods that I do not know yet.", *calls)
        unread = sorted({path for n, path in memory.fetched.items() if path and n not in memory.read})
        if not unread:
            return None
        command = READ.format(names=" ".join(shlex.quote(path) for path in unread))
        return self._say("I read how they are made.", Call("bash", {"command": command}))

    def _write(self) -> Turn:
        proposal = self._proposal()
        description = self.trade.repertoire.describe(proposal.genome)
        attempt = Attempt(f"{METHODS}/m{self.memory.earlier + len(self.memory.attempts) + 1}", proposal.genome)
        attempt.parent = proposal.parent
        calls = self._files(attempt)
        if not self.memory.announced:
            calls.append(texts.hypothesis(self.conversation.direction, proposal.genome, self.trade.repertoire))
        return Turn(texts.plan(proposal, description), calls)

    def _files(self, attempt: Attempt) -> list[Call]:
        """What creates the files of a method that are not written yet."""
        assert attempt.genome is not None
        parent = None if attempt.parent is None else f"s{attempt.parent}"
        files = dict(self.trade.repertoire.render(attempt.genome, parent=parent))
        files["method.yaml"] += texts.expectation(attempt, self.memory)
        return [
            Call(EDITOR, {"command": "create", "path": f"{attempt.directory}/{name}", "file_text": text})
            for name, text in files.items()
            if name not in attempt.written
        ]

    def _proposal(self) -> Proposal:
        memory, repertoire = self.memory, self.trade.repertoire
        last = memory.attempts[-1] if memory.attempts else None
        if last is not None and last.genome is not None and (last.works is False or last.verdict):
            simpler = repertoire.simplify(last.genome)
            if simpler != last.genome:
                return Proposal(simpler, last.parent, "simplified because the last one failed")
        measured = [
            Measured(number, memory.genomes[number], self.trade.sign * score.mean, score.error)
            for number, _, score in self._ranked()
            if number in memory.genomes
        ]
        tried = [method.genome for method in measured]
        tried += [attempt.genome for attempt in memory.attempts if attempt.genome is not None]
        said = [text for texts in memory.steering.values() for text in texts]
        direction = "\n".join([f"{self.conversation.direction_key}: {self.conversation.direction}", *said])
        return propose(self._rng("propose"), repertoire, direction, measured, tried)

    def _go_on(self, attempt: Attempt) -> Turn:
        """The next step of a method that is under way."""
        if attempt.genome is None or attempt.setbacks >= MAX_SETBACKS:
            return self._end()
        if attempt.submission is not None:
            return self._follow(attempt)
        if missing := self._files(attempt):
            return self._say("I write again what could not be written.", *missing)
        if attempt.works is None:
            trial = self.trade.repertoire.trial(attempt.directory, RESEARCH_DATA)
            command = f"# try {attempt.directory}\n{trial}"
            return self._say("I run it on the research data.", Call("bash", {"command": command}))
        arguments = {"path": attempt.directory}
        if attempt.parent is not None:
            arguments["parent"] = f"s{attempt.parent}"
        return self._say("It runs; I hand it in.", Call("submit_method", arguments))

    def _follow(self, attempt: Attempt) -> Turn:
        """Wait for the verdict, then note it and tell the others."""
        number = f"s{attempt.submission}"
        if attempt.score is None and not attempt.verdict and attempt.waits < MAX_WAITS:
            wait = Call("wait", {"for": "submission", "id": number, "timeout_seconds": WAIT_SECONDS})
            return self._say(f"I wait for the score of {number}.", wait)
        notes = texts.notebook(self._ranked(), self.memory, self.conversation.researcher)
        note = Call(EDITOR, {"command": "create", "path": NOTEBOOK, "file_text": notes})
        post = texts.result(attempt, self.memory, self.trade.repertoire)
        return self._say("I note it and tell the others.", note, post, *self._reactions(attempt))

    def _reactions(self, attempt: Attempt) -> list[Call]:
        """A vote for, and sometimes a comment on, the post about somebody else's method that this one builds on."""
        memory = self.memory
        post = memory.posts.get(attempt.parent or 0)
        parent = next((score for number, _, score in scores_of(memory) if number == attempt.parent), None)
        if post is None or post in memory.own_posts or attempt.score is None or parent is None:
            return []
        calls: list[Call] = []
        if self.trade.sign * (attempt.score.mean - parent.mean) > 0 and post not in memory.voted:
            calls.append(Call("vote", {"post": post, "value": 1}))
        if self._rng("comment").random() < 0.5 and post not in memory.answered:
            calls.append(texts.comment(attempt, post))
        return calls

    def _end(self) -> Turn:
        text = texts.summary(self._ranked(), self.memory, self.conversation.researcher, self.trade.repertoire)
        if not self.memory.summed_up:
            return self._say("I sum up.", texts.summary_post(text))
        return self._say("I am done.", Call("finish", {"summary": text}))
