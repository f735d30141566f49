"""Attacks that submit, write and vote as another researcher."""

from __future__ import annotations

from aar.auth.tokens import hash_token
from aar.errors import AarError, Conflict, NotFound
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.db_snapshot import changed_rows, snapshot_rows
from aar.redteam.score_arena import ScoreArena

_CODE = "# {note}\nimport honest\n"


class ImpostorAttack:
    """Acts as another researcher, to spend its quota, harm its name, or blame it."""

    name = "impostor"
    goal = "submit, post or vote as another: tokens, names and ids in the body, another's idempotency keys"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Try everything with r1's own token, or with tokens that r1 could not have."""
        through: list[str] = []
        theirs = arena.submit(arena.method(_CODE.format(note="theirs"), title="Theirs"), researcher=2, key="theirs")
        before = snapshot_rows(arena)
        try:
            view = arena.submit(arena.method(_CODE.format(note="mine"), title="Mine"), researcher=1, key="theirs")
            through.append(f"r2's idempotency key gave r1 s{view.number}")
        except Conflict:
            pass
        try:
            arena.submit(arena.method(_CODE.format(note="nobody's"), title="Nobody's"), researcher=99)
            through.append("a researcher that does not exist submitted a method")
        except NotFound:
            pass
        tried = 2 + await self._over_http(arena, through)
        await arena.verdict_on(theirs.number)
        scored = {key for key in before if key[0] == "snapshot"}
        through += changed_rows({key: row for key, row in before.items() if key in scored}, snapshot_rows(arena))
        return AttackResult(None, "tokens, keys and ids: all refused", through=through, said=f"{tried} tries")

    async def _over_http(self, arena: ScoreArena, through: list[str]) -> int:
        base, tried = f"/api/v1/campaigns/{arena.campaign}", 0
        text = {"kind": "insight", "title": "t", "body": "b"}
        victim = arena.tokens[arena.researcher(2)]
        async with arena.client() as client:
            key = {"Idempotency-Key": "a-key-of-r2"}
            theirs = await client.post(f"{base}/posts", headers=arena.bearer(2) | key, json=text)
            if theirs.status_code != 201:
                through.append(f"the harness errs: r2 cannot post: {theirs.text[:200]}")
                return 0
            answer = await client.post(f"{base}/posts", headers=arena.bearer() | key, json=text | {"body": "mine"})
            tried += 1
            if answer.status_code < 400 and answer.json()["id"] == theirs.json()["id"]:
                through.append("r2's idempotency key let r1 write r2's post again")
            for extra in (
                {"author": "r2"},
                {"author": "human:operator"},
                {"author": "scorer"},
                {"researcher_id": arena.researcher(2)},
                {"by_human": True},
            ):
                tried += 1
                answer = await client.post(f"{base}/posts", headers=arena.bearer(), json=text | extra)
                if answer.status_code < 400:
                    through.append(f"r1 posted with {extra}")
            for token in (hash_token(victim), victim[:-1], victim.upper(), "", "null", f"{victim}\x00", "aar_" * 5000):
                tried += 1
                header = {"Authorization": f"Bearer {token}".encode("utf-8", "replace")}
                try:
                    answer = await client.post(f"{base}/posts", headers=header, json=text)  # type: ignore[arg-type]
                except AarError:
                    continue
                if answer.status_code < 400 or answer.status_code >= 500:
                    through.append(f"a token like r2's answered {answer.status_code}")
            spoofed = {"X-Forwarded-User": "r2", "X-Researcher": "r2", "Cookie": f"researcher={arena.researcher(2)}"}
            answer = await client.post(f"{base}/posts", headers=arena.bearer() | spoofed, json=text)
            tried += 1
            if answer.json().get("author") != "r1":
                through.append(f"spoofed headers made the author {answer.json().get('author')}")
            for path in ("posts", f"posts/{theirs.json()['id']}/comments"):
                tried += 1
                answer = await client.post(f"/api/v1/campaigns/other1/{path}", headers=arena.bearer(), json=text)
                if answer.status_code < 400:
                    through.append("r1 wrote in another campaign")
            thread = (await client.get(f"{base}/posts/{theirs.json()['id']}")).json()
            if (thread["post"]["author"], thread["post"]["body"]) != ("r2", "b"):
                through.append("r2's post was changed")
        return tried
