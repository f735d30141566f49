"""Small audits whose answers a test foresees."""

from __future__ import annotations

from collections.abc import Sequence

from aar.problems.protocol import Problem
from aar.scoring.audits.protocol import AuditInput, AuditResult, AuditStage, AuditVerdict
from aar.scoring.phases import Phase


class WordAudit:
    """Disqualifies code in which a word stands; breaks over the word ``unreadable``."""

    name = "word"
    stage = AuditStage.SUBMITTED

    def __init__(self, word: str = "cheat") -> None:
        self.word = word
        self.asked: list[int] = []

    def phases(self, problem: Problem) -> Sequence[Phase]:
        return ()

    async def judge(self, dossier: AuditInput) -> AuditResult:
        self.asked.append(dossier.number)
        code = (dossier.code / "run.py").read_text()
        if "unreadable" in code:
            raise ValueError("secret label 1")
        if self.word in code:
            return AuditResult(self.name, AuditVerdict.DISQUALIFIED, "word.cheat", "It says so itself.", {"line": 1})
        return AuditResult(self.name, AuditVerdict.PASSED, "", "The word does not stand in it.")


class LastWord(WordAudit):
    """The same, but asked only at a confirmation."""

    name = "last-word"
    stage = AuditStage.CONFIRMED
