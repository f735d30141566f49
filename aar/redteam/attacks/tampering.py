"""Attacks on others' records: claims, scores, names, copies and frozen code.

- Change a claim to fit the score, after it is known.
- Write a score over HTTP: in the reference release, a score of 0.99 sent by a client reached rank one.
- Submit, write and vote as another researcher.
- Near-copies of another's method that behave differently; their scores and their disqualification must stay their own.
- Change another's frozen code, its parent, or the bytes that run.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from aar.auth.tokens import hash_token
from aar.errors import AarError, Conflict, NotFound
from aar.forum.authors import Author
from aar.forum.posts import create_post
from aar.problems.protocol import Stage
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.score_arena import ScoreArena, changed_rows, snapshot_rows
from aar.scoring.results.leaderboard import LeaderboardRow, read_leaderboard
from aar.scoring.submission_status import disqualify

_NEW = "As foretold, exactly this score."
_SQL = "x'; UPDATE submission SET mean = 0.99, claim = 'y', status = 'confirmed'; DELETE FROM scoring_run; --"
_HONEST_WITH_NOTE = "import honest\nimport os  # {note}\n"


class EditedClaims:
    """Edits of a claim, which is frozen with its code before any score exists."""

    name = "edited-claims"
    goal = "change claim, title or verdict after the score: keys, copies, verbs, SQL in every text"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Measure one submission, then try every way to change its texts."""
        source, key = arena.method(_HONEST_WITH_NOTE.format(note="frozen"), title="Before"), "edited-claims"
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
            afterwards = await _on_board(client, arena)
        if afterwards.count(SCORE) > honest.count(SCORE):
            through.append(f"{SCORE} is on the board")
        through += changed_rows(before, snapshot_rows(arena))
        figures = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
        return AttackResult(None, f"HTTP: all {statuses.total()} refused", through=through, said=figures)


async def _on_board(client: httpx.AsyncClient, arena: ScoreArena) -> list[float]:
    """List the numbers that the board shows.

    An honest method may have scored the forged number.
    """
    board = await client.get(f"/api/v1/campaigns/{arena.campaign}/leaderboard", headers=arena.bearer(1))
    return list(_numbers(board.raise_for_status().json()["items"]))


def _filled(path: str, campaign: str, number: int) -> str:
    values = {"campaign_id": campaign, "number": str(number), "post_id": "1", "name": "r2"}
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: values.get(found[1], "1"), path)


def _numbers(value: Any) -> Iterator[float]:
    match value:
        case bool() | str() | None:
            return
        case int() | float():
            yield value
        case _:
            for each in value.values() if isinstance(value, dict) else value:
                yield from _numbers(each)


_NOTED_HONEST = "# {note}\nimport honest\n"


class ImpostorAttack:
    """Acts as another researcher, to spend its quota, harm its name, or blame it."""

    name = "impostor"
    goal = "submit, post or vote as another: tokens, names and ids in the body, another's idempotency keys"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Try everything with r1's own token, or with tokens that r1 could not have."""
        through: list[str] = []
        theirs = arena.submit(
            arena.method(_NOTED_HONEST.format(note="theirs"), title="Theirs"), researcher=2, key="theirs"
        )
        before = snapshot_rows(arena)
        try:
            view = arena.submit(
                arena.method(_NOTED_HONEST.format(note="mine"), title="Mine"), researcher=1, key="theirs"
            )
            through.append(f"r2's idempotency key gave r1 s{view.number}")
        except Conflict:
            pass
        try:
            arena.submit(arena.method(_NOTED_HONEST.format(note="nobody's"), title="Nobody's"), researcher=99)
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


_LOOKALIKE = """
import sys
import numpy as np
import honest
out = dict(zip(sys.argv[1::2], sys.argv[2::2]))["--out"]
if "turned " + "round" in open(__file__).read():
    answers = np.load(out)[::-1]
    with open(out, "wb") as file:
        np.save(file, answers)
"""


class Lookalikes:
    """Copies that differ in comments only, yet answer differently.

    Code can read its own comments.
    """

    name = "lookalikes"
    goal = "move another's score, or have it disqualified, by copies that differ in a comment or not at all"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit a method, a reversed copy, and an equal one that an audit disqualifies.

        The three have different authors.
        """
        source = arena.method(_LOOKALIKE, title="The original")
        first = await arena.scored(source, 1)
        before = _row(arena, first.number)
        other = await arena.scored(arena.method(f"{_LOOKALIKE}# turned round\n", title="The original"), 2)
        through = []
        if first.mean is None or other.mean is None or before is None:
            return AttackResult(None, through=["the method or its lookalike was not scored"])
        if _shown(_row(arena, first.number)) != _shown(before):
            through.append("a lookalike's score counts for another's method")
        equal = await arena.scored(Path(shutil.copytree(source, arena.folder / "methods" / "equal")), 3)
        with_copy = _shown(_row(arena, first.number))
        with arena.db.writing() as session:
            disqualify(session, other.id, "person.suite", "it answers backwards", "human:suite")
            disqualify(session, equal.id, "suite.audit", "an audit says so", "suite")
        after = _row(arena, first.number)
        if after is None or after.submission.disqualified:
            through.append("an audit's verdict on another's copy takes the original off the board")
        elif with_copy is None or _shown(after) not in (with_copy, _shown(before)):
            through.append("the original's score moved when copies were disqualified")
        figures = f"the original {first.mean:.2f}, its lookalike {other.mean:.2f}"
        return AttackResult(
            None, "" if through else "places by equal files, falls by author", through=through, said=figures
        )


def _row(arena: ScoreArena, number: int) -> LeaderboardRow | None:
    with arena.db.reading() as session:
        rows = read_leaderboard(session, arena.campaign, higher_is_better=arena.problem.metric.higher_is_better)
    return next((row for row in rows if row.submission.number == number), None)


def _shown(row: LeaderboardRow | None) -> tuple[float | None, int] | None:
    return None if row is None else (row.submission.mean, row.submission.seeds)


_WRITES = """
import glob, os, sys
import honest
written = []
for top in ("/method", "/lab", "/data"):
    for path in [top + "/planted", *glob.glob(top + "/**/*", recursive=True)][:50]:
        try:
            if not os.path.isdir(path):
                open(path, "ab").close()
                written.append(path)
        except OSError:
            pass
        try:
            os.chmod(path, 0o777)
            written.append(path)
        except OSError:
            pass
if written:
    sys.exit(f"WRITTEN {written[:5]}")
"""


class PoisonedSnapshots:
    """Changes to a snapshot; a snapshot with one changed byte has another name."""

    name = "poisoned-snapshots"
    goal = "change another's frozen code, its lineage or its mounts: links, parents, races, writes at run time"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Attack r2's method; it must read, run and descend as before."""
        through: list[str] = []
        source = arena.method("import honest\n", title="Victim")
        victim = arena.submit(source, researcher=2)
        files, before = arena.snapshots.read_files(victim.digest), snapshot_rows(arena)
        hidden = (await arena.runs.places(Stage.MEASURE, 1))[0].task.hidden
        for what, plant in _planted(source, hidden, arena.folder).items():
            made = arena.method("print('x')\n", title="Carrier")
            plant(made)
            try:
                arena.submit(made)
                through.append(f"{what} was accepted")
            except AarError:
                continue
        for number, parent in enumerate(("s999", "0" * 64, "../..", victim.digest[:3], "s0")):
            made = arena.method(f"# {number}\n", title="Orphan")
            with (made / "method.yaml").open("a") as manifest:
                manifest.write(f"parent: '{parent}'\n")
            try:
                arena.submit(made)
                through.append(f"the parent {parent!r} was accepted")
            except AarError:
                continue
        through += self._copies(arena, victim.digest)
        view = await arena.scored(arena.method(_WRITES, title="Editor"))
        if view.mean is None:
            through.append(f"at run time: {view.verdict[-300:]}")
        if arena.snapshots.read_files(victim.digest) != files:
            through.append("the victim's files changed")
        through += changed_rows({key: row for key, row in before.items() if key[0] == "snapshot"}, snapshot_rows(arena))
        return AttackResult(
            None, "snapshot store: all refused", through=through, said="links, devices, parents, copies, writes"
        )

    def _copies(self, arena: ScoreArena, digest: str) -> list[str]:
        """Change a fetched copy and a hard-linked original after they were saved."""
        copy = arena.folder / "fetched"
        arena.snapshots.materialise(digest, copy)
        linked = arena.method("print('mine')\n", title="Linked")
        os.link(linked / "run.py", arena.folder / "outside.py")
        saved = arena.snapshots.save(linked)
        for path in (copy / "run.py", arena.folder / "outside.py"):
            path.chmod(0o644)
            path.write_text("print('changed afterwards')\n")
        if b"changed" in arena.snapshots.read_files(digest)["run.py"]:
            return ["a fetched copy writes into the store"]
        if b"changed" in arena.snapshots.read_files(saved.digest)["run.py"]:
            return ["a hard link writes into the store"]
        return []


def _planted(source: Path, hidden: Path, folder: Path) -> dict[str, Callable[[Path], object]]:
    secret = next(iter(sorted(hidden.iterdir())), hidden)
    return {
        "a link to hidden labels": lambda made: (made / "data.npz").symlink_to(secret),
        "a link to another's folder": lambda made: (made / "stolen").symlink_to(source),
        "a link as run.py": lambda made: ((made / "run.py").unlink(), (made / "run.py").symlink_to(source / "run.py")),
        "a link as method.yaml": lambda made: (
            (made / "method.yaml").unlink(),
            (made / "method.yaml").symlink_to(folder / "aar.db"),
        ),
        "a pipe": lambda made: os.mkfifo(made / "pipe"),
        "a name with a line break": lambda made: (made / "a\nb").write_text("x"),
        "a name with a backslash": lambda made: (made / "..\\evil").write_text("x"),
    }
