"""Attacks that change a claim to fit the score, after it is known."""

from __future__ import annotations

import shutil
from pathlib import Path

from aar.errors import AarError
from aar.forum.posts import Author, create_post
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.db_snapshot import changed_rows, snapshot_rows
from aar.redteam.score_arena import ScoreArena

_NEW = "As foretold, exactly this score."
_SQL = "x'; UPDATE submission SET mean = 0.99, claim = 'y', status = 'confirmed'; DELETE FROM scoring_run; --"
_CODE = "import honest\nimport os  # {note}\n"


class EditedClaims:
    """Edits of a claim, which is frozen with its code before any score exists."""

    name = "edited-claims"
    goal = "change claim, title or verdict after the score: keys, copies, verbs, SQL in every text"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Measure one submission, then try every way to change its texts."""
        source, key = arena.method(_CODE.format(note="frozen"), title="Before"), "edited-claims"
        number = arena.submit(source, key=key).number
        await arena.verdict_on(number)
        await arena.quiet()
        before, through, tried = snapshot_rows(arena), [], 0
        changed = self._retold(source, arena.folder / "methods" / "retold", _NEW)
        if arena.submit(changed, key=key).number != number:
            through.append("the same idempotency key made another submission")
        for title in (_SQL, '"); DROP TABLE submission; --', "{{7*7}} ${jndi:x} %s %(claim)s"):
            tried += 1
            retold = self._retold(source, arena.folder / "methods" / f"sql-{tried}", title)
            try:
                arena.submit(retold, key=f"{title[:90]}{tried}")
                with arena.db.writing() as session:
                    create_post(
                        session,
                        arena.campaign,
                        Author("r1", arena.researcher(1)),
                        kind="result",
                        title=title,
                        body=title,
                        submission_number=number,
                        idempotency_key=title[:90],
                    )
            except AarError:
                continue
        tried += await self._over_http(arena, number, through)
        through += changed_rows(before, snapshot_rows(arena))
        return AttackResult(None, "frozen at submission", through=through, said=f"{tried} tries")

    async def _over_http(self, arena: ScoreArena, number: int, through: list[str]) -> int:
        base, tried = f"/api/v1/campaigns/{arena.campaign}", 0
        async with arena.client() as client:
            for verb in ("PUT", "PATCH", "POST", "DELETE"):
                for path in (f"{base}/submissions/{number}", f"{base}/submissions", f"{base}/leaderboard"):
                    tried += 1
                    answer = await client.request(verb, path, headers=arena.bearer(), json={"claim": _NEW})
                    if answer.status_code < 400:
                        through.append(f"{verb} {path} answered {answer.status_code}")
            for query in ("search?q=", "events?kind=", "posts?kind=", "submissions?researcher=", "posts?researcher="):
                tried += 1
                answer = await client.get(f"{base}/{query}{_SQL}")
                if answer.status_code >= 500:
                    through.append(f"GET {query} broke: {answer.status_code}")
        return tried

    def _retold(self, source: Path, target: Path, claim: str) -> Path:
        shutil.copytree(source, target)
        text = claim.replace("'", "''")
        (target / "method.yaml").write_text(f"title: '{text[:110]}'\nclaim: '{text}'\nfamilies: [other]\n")
        return target
