"""Static reading: what the frozen code itself shows, before any of it runs."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aar.problems.protocol import Problem
from aar.scoring.audits.protocol import Dossier, Finding, Moment, Verdict
from aar.scoring.audits.static import conduct, hidden, reach, tables
from aar.scoring.audits.static.source import Hit, Source
from aar.scoring.identity import parse
from aar.scoring.manifest import ENTRY_POINT
from aar.scoring.phases import Phase

RULES: tuple[Callable[[Source], Iterator[Hit]], ...] = (
    reach.network,
    reach.path,
    reach.process,
    tables.table,
    conduct.seed,
    conduct.clock,
    conduct.environment,
    conduct.state,
    hidden.hidden_code,
)
MAX_READ_BYTES = 1_000_000
"""Of all files together; the entry point comes first."""
_MOST_HITS = 50
_DEEPEST = 3
"""Code in texts in code is followed so far."""


class StaticReading:
    """Reads a submission's files for file, network, clock, seed, environment and table tricks.

    What no honest method does disqualifies; what one might do for a good reason is flagged for a person to look at.
    A reading can be evaded by anybody who tries for long enough: the sandbox, fresh splits and the confirmation hold
    without it.
    """

    name = "static"
    moment = Moment.SUBMITTED

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """None: it needs no run."""
        return ()

    async def judge(self, dossier: Dossier) -> Finding:
        """Read the code, in a thread."""
        return finding(await asyncio.to_thread(read_code, dossier.code))


def read_code(directory: Path) -> list[Hit]:
    """All places that break a rule, the worst first; at most fifty. Nothing is imported or run.

    Args:
        directory: the frozen code; links in it are not followed.
    """
    code, others = _listed(directory)
    hits = [*tables.files(directory, others, code), *hidden.binaries(directory, others)]
    left = MAX_READ_BYTES
    for name in code:
        left -= (directory / name).lstat().st_size
        tree = parse(directory / name) if left >= 0 else None
        if tree is None:
            hits.append(Hit("static.unreadable", Verdict.FLAGGED, name, 1, "Python code that cannot be read"))
            continue
        try:
            hits += _read(Source(name, tree), 0)
        except RecursionError:
            hits.append(Hit("static.unreadable", Verdict.FLAGGED, name, 1, "expressions nested too deep to be read"))
    unique = sorted(set(hits), key=lambda hit: (hit.verdict is not Verdict.DISQUALIFIED, hit.file, hit.line, hit.rule))
    return unique[:_MOST_HITS]


def finding(hits: Sequence[Hit]) -> Finding:
    """The audit's answer to what was found, the worst first."""
    if not hits:
        return Finding(StaticReading.name, Verdict.PASSED, "", "nothing found")
    worst = hits[0]
    more = f"; {len(hits) - 1} more" if len(hits) > 1 else ""
    reason = f"{worst.file}:{worst.line}: {worst.what}{more}"
    evidence = [
        {"rule": hit.rule, "verdict": str(hit.verdict), "file": hit.file, "line": hit.line, "what": hit.what}
        for hit in hits
    ]
    return Finding(StaticReading.name, worst.verdict, worst.rule, reason, {"hits": evidence})


def _read(source: Source, depth: int) -> Iterator[Hit]:
    yield from itertools.chain.from_iterable(rule(source) for rule in RULES)
    if depth < _DEEPEST:
        for call, tree in hidden.inner_code(source):
            for hit in _read(Source(source.file, tree), depth + 1):
                yield Hit(
                    hit.rule, hit.verdict, hit.file, getattr(call, "lineno", 1), f"{hit.what} (in code in a text)"
                )


def _listed(directory: Path) -> tuple[list[str], list[str]]:
    """Python files and others, by their paths; compiled ones in ``__pycache__`` count as others."""
    code: list[str] = []
    others: list[str] = []
    for parent, _, names in os.walk(directory):
        for name in names:
            path = Path(parent, name)
            listed = code if path.suffix in (".py", ".pyw") and not path.is_symlink() else others
            listed.append(path.relative_to(directory).as_posix())
    return sorted(code, key=lambda name: (name != ENTRY_POINT, name)), sorted(others)
