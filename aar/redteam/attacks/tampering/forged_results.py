"""Attacks that write a score over HTTP.

In the reference release, a score of 0.99 sent by a client reached rank one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx

from aar.redteam.attack_protocol import AttackResult
from aar.redteam.db_snapshot import changed_rows, snapshot_rows
from aar.redteam.score_arena import ScoreArena

SCORE = 0.99
_METHODS = ("POST", "PUT", "PATCH", "DELETE")
_FIELDS: dict[str, Any] = {
    "mean": SCORE,
    "score": SCORE,
    "pgr": SCORE,
    "standard_error": 0.0,
    "low": SCORE,
    "high": SCORE,
    "seeds": 99,
    "status": "confirmed",
    "state": "measured",
    "rank": 1,
    "verdict": f"s1 measured: PGR {SCORE}",
    "disqualified": "",
    "by_domain": {},
    "parts": {"method_accuracy": 1.0},
}
_VALID: dict[str, Any] = {
    "kind": "result",
    "title": f"PGR {SCORE}",
    "body": f"Our method reaches {SCORE}.",
    "value": 1,
    "command": "pause",
}


_PAGES = ("/", "/campaigns/{campaign_id}", "/campaigns/{campaign_id}/submissions/{number}", "/mcp/{campaign_id}")


class ForgedResults:
    """Every route of the real application, with every writing verb and any token.

    Requests without a token are made too.
    """

    name = "forged-results"
    goal = "write a score over HTTP: every route and verb, extra fields, other and no tokens"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Send forged scores; no row may change and no answer may show them.

        The rows are those of submissions, runs and snapshots. No answer may show the forged number on the board.
        """
        view = await arena.scored(arena.honest, researcher=2)
        await arena.quiet()
        before, statuses, through = snapshot_rows(arena), Counter[int](), []
        tokens = {"r1's token": arena.bearer(1), "no token": {}, "a made-up token": {"Authorization": "Bearer aar_x"}}
        bodies: list[Any] = [_FIELDS, {**_VALID, **_FIELDS}, [_FIELDS], {"submission": _FIELDS, "items": [_FIELDS]}]
        async with arena.client() as client:
            honest = await _on_board(client, arena)
            for path in (await client.get("/api/v1/openapi.json")).json()["paths"].keys() | set(_PAGES):
                address = _filled(path, arena.campaign, view.number)
                for verb in _METHODS:
                    for who, header in tokens.items():
                        for body in bodies:
                            answer = await client.request(verb, address, headers=header, json=body)
                            statuses[answer.status_code] += 1
                            if answer.status_code < 400:
                                through.append(f"{verb} {path} with {who} answered {answer.status_code}")
                            if answer.status_code >= 500:
                                through.append(f"{verb} {path} with {who} broke: {answer.status_code}")
            found = await _on_board(client, arena)
        if found.count(SCORE) > honest.count(SCORE):
            through.append(f"{SCORE} is on the board")
        through += changed_rows(before, snapshot_rows(arena))
        said = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
        return AttackResult(None, f"HTTP: all {statuses.total()} refused", through=through, said=said)


async def _on_board(client: httpx.AsyncClient, arena: ScoreArena) -> list[float]:
    """List the numbers that the board shows.

    An honest method may have scored the forged number.
    """
    board = await client.get(f"/api/v1/campaigns/{arena.campaign}/leaderboard", headers=arena.bearer(1))
    return list(_numbers(board.raise_for_status().json()["items"]))


def _filled(path: str, campaign: str, number: int) -> str:
    known = {"campaign_id": campaign, "number": str(number), "post_id": "1", "name": "r2"}
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: known.get(found[1], "1"), path)


def _numbers(value: Any) -> Iterator[float]:
    match value:
        case bool() | str() | None:
            return
        case int() | float():
            yield value
        case _:
            for each in value.values() if isinstance(value, dict) else value:
                yield from _numbers(each)
