"""The offline researcher's policy: its next turn, from seed, name, direction and conversation only."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from random import Random

from aar.researcher.offline import SELF_DESCRIPTION, texts
from aar.researcher.offline.conversation import ObservedConversation, PlannedCall, PlannedTurn
from aar.researcher.offline.search import MeasuredMethod, Proposal, SearchProblem, find_search_problem, propose_genome
from aar.researcher.offline.search_state import (
    EDITOR,
    NOTEBOOK,
    MethodAttempt,
    ObservedScore,
    SearchState,
    measured_scores,
    parse_state,
)

MAX_SUBMISSIONS = 8
MAX_FETCHES = 4
"""Snapshots fetched in one turn."""
MAX_WAITS = 8
MAX_ATTEMPT_FAILURES = 4
"""Failed calls for one method before it is abandoned."""
MAX_FAILURES = 4
"""Failed methods in a row before the researcher gives up."""
WAIT_SECONDS = 900
METHODS = "/workspace/methods"
RESEARCH_DATA = "/data"

LOOK_COMMAND = """# look at the data, and at the forum: which post is about which submission
ls -l /data/* 2>/dev/null | head -n 60
grep -hE '^- (post #|about submission s)[0-9]+' /forum/posts/*.md 2>/dev/null | tail -n 200
true"""

READ_COMMAND = """# read genomes
for method in {names}; do
  echo "== $method"; sed -n '/^GENOME = {{/,/^}}/p' "$method/run.py" | head -n 60
done"""


class SearchPolicy:
    """Plays the researchers of one seed; it has no state between turns."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def next_turn(self, conversation: ObservedConversation) -> PlannedTurn:
        """Return the next turn of the researcher in this conversation.

        Raises:
            ProblemError: the conversation's problem cannot be loaded.
        """
        trade = find_search_problem(conversation.problem)
        if trade is None:
            return _without_repertoire(conversation)
        return _Decision(self._seed, conversation, parse_state(conversation, trade.repertoire), trade).turn()


def _without_repertoire(conversation: ObservedConversation) -> PlannedTurn:
    if any(step.tool == "finish" for exchange in conversation.exchanges for step in exchange.steps):
        return PlannedTurn(f"[{SELF_DESCRIPTION}] I have finished.")
    text = (
        f"{SELF_DESCRIPTION}: the problem {conversation.problem or '(none named)'} ships no repertoire of components, "
        "and a search "
        "program cannot invent methods for it. Give the problem a repertoire() or use a language model."
    )
    return PlannedTurn(
        f"[{SELF_DESCRIPTION}] There is nothing that I can search here.", [PlannedCall("finish", {"summary": text})]
    )


@dataclass(frozen=True, slots=True)
class _Decision:
    """The decision about one turn."""

    seed: int
    conversation: ObservedConversation
    state: SearchState
    problem: SearchProblem

    def turn(self) -> PlannedTurn:
        memory = self.state
        if memory.finished:
            return PlannedTurn(f"[{SELF_DESCRIPTION}] I have finished.")
        current = memory.attempts[-1] if memory.attempts else None
        if current is not None and not current.is_done:
            return self._go_on(current)
        if memory.stopped or self._submissions() >= MAX_SUBMISSIONS or self._failures() >= MAX_FAILURES:
            return self._end()
        if memory.looked_after < len(memory.attempts):
            return self._look()
        return self._study() or self._write()

    def _say(self, text: str, *calls: PlannedCall) -> PlannedTurn:
        return PlannedTurn(f"[{SELF_DESCRIPTION}] {text}", calls)

    def _rng(self, purpose: str) -> Random:
        name, key = self.conversation.researcher, self.conversation.direction_key
        methods = self.state.earlier + len(self.state.attempts)
        return Random(f"{self.seed}:{name}:{key}:{purpose}:{methods}")  # noqa: S311 - must repeat

    def _ranked(self) -> list[tuple[int, str, ObservedScore]]:
        """Return the measured submissions, best first."""
        return sorted(measured_scores(self.state), key=lambda row: (-self.problem.sign * row[2].mean, row[0]))

    def _submissions(self) -> int:
        own = sum(who == self.conversation.researcher for who, _ in self.state.board.values())
        return max(self.state.earlier + len(self.state.submitted_attempts), own)

    def _failures(self) -> int:
        """Return how many of the last methods in the record failed."""
        count = 0
        for attempt in reversed(self.state.attempts):
            if attempt.score is not None:
                break
            count += 1
        return count

    def _look(self) -> PlannedTurn:
        replies = [texts.person_answer(post) for post in self.state.steering if post not in self.state.answered]
        look = PlannedCall("bash", {"command": LOOK_COMMAND})
        return self._say(
            "I look at the board and the forum.", PlannedCall("leaderboard", {"limit": 50}), look, *replies
        )

    def _study(self) -> PlannedTurn | None:
        """Fetch and read methods with an unknown genome, the best first."""
        memory = self.state
        unknown = [n for n, _, _ in self._ranked() if n not in memory.genomes and n not in memory.fetched]
        if unknown:
            calls = [PlannedCall("fetch_snapshot", {"snapshot": f"s{number}"}) for number in unknown[:MAX_FETCHES]]
            return self._say("I fetch the code of methods that I do not know yet.", *calls)
        unread = sorted({path for n, path in memory.fetched.items() if path and n not in memory.read})
        if not unread:
            return None
        command = READ_COMMAND.format(names=" ".join(shlex.quote(path) for path in unread))
        return self._say("I read how they are made.", PlannedCall("bash", {"command": command}))

    def _write(self) -> PlannedTurn:
        proposal = self._proposal()
        description = self.problem.repertoire.describe(proposal.genome)
        attempt = MethodAttempt(f"{METHODS}/m{self.state.earlier + len(self.state.attempts) + 1}", proposal.genome)
        attempt.parent = proposal.parent
        calls = self._files(attempt)
        if not self.state.announced:
            calls.append(texts.hypothesis_post(self.conversation.direction, proposal.genome, self.problem.repertoire))
        return PlannedTurn(texts.plan_text(proposal, description), calls)

    def _files(self, attempt: MethodAttempt) -> list[PlannedCall]:
        """Return the calls that create the missing files of a method."""
        assert attempt.genome is not None
        parent = None if attempt.parent is None else f"s{attempt.parent}"
        files = dict(self.problem.repertoire.render(attempt.genome, parent=parent))
        files["method.yaml"] += texts.expectation_line(attempt, self.state)
        return [
            PlannedCall(EDITOR, {"command": "create", "path": f"{attempt.directory}/{name}", "file_text": text})
            for name, text in files.items()
            if name not in attempt.written
        ]

    def _proposal(self) -> Proposal:
        memory, repertoire = self.state, self.problem.repertoire
        last = memory.attempts[-1] if memory.attempts else None
        if last is not None and last.genome is not None and (last.works is False or last.verdict):
            simpler = repertoire.simplify(last.genome)
            if simpler != last.genome:
                return Proposal(simpler, last.parent, "simplified because the last one failed")
        measured = [
            MeasuredMethod(number, memory.genomes[number], self.problem.sign * score.mean, score.error)
            for number, _, score in self._ranked()
            if number in memory.genomes
        ]
        tried = [method.genome for method in measured]
        tried += [attempt.genome for attempt in memory.attempts if attempt.genome is not None]
        said = [text for texts in memory.steering.values() for text in texts]
        direction = "\n".join([f"{self.conversation.direction_key}: {self.conversation.direction}", *said])
        return propose_genome(self._rng("propose"), repertoire, direction, measured, tried)

    def _go_on(self, attempt: MethodAttempt) -> PlannedTurn:
        """Return the next step of a method in progress."""
        if attempt.genome is None or attempt.failures >= MAX_ATTEMPT_FAILURES:
            return self._end()
        if attempt.submission is not None:
            return self._follow(attempt)
        if missing := self._files(attempt):
            return self._say("I write again what could not be written.", *missing)
        if attempt.works is None:
            trial = self.problem.repertoire.trial(attempt.directory, RESEARCH_DATA)
            command = f"# try {attempt.directory}\n{trial}"
            return self._say("I run it on the research data.", PlannedCall("bash", {"command": command}))
        arguments = {"path": attempt.directory}
        if attempt.parent is not None:
            arguments["parent"] = f"s{attempt.parent}"
        return self._say("It runs; I hand it in.", PlannedCall("submit_method", arguments))

    def _follow(self, attempt: MethodAttempt) -> PlannedTurn:
        """Wait for the verdict, then note it and post it."""
        number = f"s{attempt.submission}"
        if attempt.score is None and not attempt.verdict and attempt.waits < MAX_WAITS:
            wait = PlannedCall("wait", {"for": "submission", "id": number, "timeout_seconds": WAIT_SECONDS})
            return self._say(f"I wait for the score of {number}.", wait)
        notes = texts.notebook_text(self._ranked(), self.state, self.conversation.researcher)
        note = PlannedCall(EDITOR, {"command": "create", "path": NOTEBOOK, "file_text": notes})
        post = texts.result_post(attempt, self.state, self.problem.repertoire)
        return self._say("I note it and tell the others.", note, post, *self._reactions(attempt))

    def _reactions(self, attempt: MethodAttempt) -> list[PlannedCall]:
        """Return a vote, and sometimes a comment, on the parent's post.

        Only if the parent is another author's method.
        """
        memory = self.state
        post = memory.posts.get(attempt.parent or 0)
        parent = next((score for number, _, score in measured_scores(memory) if number == attempt.parent), None)
        if post is None or post in memory.own_posts or attempt.score is None or parent is None:
            return []
        calls: list[PlannedCall] = []
        if self.problem.sign * (attempt.score.mean - parent.mean) > 0 and post not in memory.voted:
            calls.append(PlannedCall("vote", {"post": post, "value": 1}))
        if self._rng("comment").random() < 0.5 and post not in memory.answered:
            calls.append(texts.parent_comment(attempt, post))
        return calls

    def _end(self) -> PlannedTurn:
        text = texts.summary_text(self._ranked(), self.state, self.conversation.researcher, self.problem.repertoire)
        if not self.state.summed_up:
            return self._say("I sum up.", texts.summary_post(text))
        return self._say("I am done.", PlannedCall("finish", {"summary": text}))
