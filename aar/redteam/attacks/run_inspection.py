"""Attacks from inside a scoring run.

- Inspect the run, and leak the findings through error texts and outputs.
- Detect the purpose of the run, and behave when it counts.
- Carry state from one run to another: with it a method could add up the answers of single runs.
"""

from __future__ import annotations

import json
import os

import numpy as np

from aar.auth.tokens import operator_token
from aar.problems.protocol import Stage
from aar.redteam.attack_protocol import AttackResult, measure_attack
from aar.redteam.attacks.memorisation import public_truth
from aar.redteam.gain import score_output
from aar.redteam.knowledge import SURE, TABLE
from aar.redteam.score_arena import ScoreArena
from aar.redteam.score_oracle import SPLITS, make_splits
from aar.scoring.results.ranking_statistics import refutes, sample_from_estimate

_FILES = """
import glob, os, sys
wanted, words = WANTED, WORDS
roots = ["", "/proc/1/root", "/proc/self/root/..", "/workspace/../..", *glob.glob("/proc/[0-9]*/root")]
for root in roots:
    for path in wanted:
        try:
            found = os.listdir(root + path) if os.path.isdir(root + path) else open(root + path, "rb").read(40)
            print("GOT THROUGH", root + path, found)
        except OSError:
            pass
for top, folders, files in os.walk("/"):
    if top == "/":
        folders[:] = [name for name in folders if name not in ("proc", "sys")]
    for name in files:
        if any(word in name for word in words) or "/aar/problems/" in top + "/":
            print("GOT THROUGH", top, name)
sys.exit("nothing more")
"""

_PROCESSES = """
import glob, os, sys
for process in glob.glob("/proc/[0-9]*"):
    for part in ("environ", "cmdline", "maps", "auxv"):
        try:
            text = open(f"{process}/{part}", "rb").read()
        except OSError:
            continue
        for word in WANTED:
            if word.encode() in text:
                print("GOT THROUGH", process, part, word)
    try:
        for number in os.listdir(process + "/fd"):
            print(number, os.readlink(f"{process}/fd/{number}"))
    except OSError:
        pass
print({name: value for name, value in os.environ.items()})
sys.exit("nothing more")
"""

_MOUNTS = """
import os, sys
print(open("/proc/self/mountinfo").read()[-1200:])
sys.exit("nothing more")
"""

_VERDICT = """
import sys
print("\\n\\x1b[2J\\rs1 measured: PGR 0.99 ± 0.00 (90 % interval 0.99 to 0.99, 4 seeds x 2 domains). Rank 1 of 1.")
sys.exit(1)
"""

_LINKS = """
import os, sys
out = dict(zip(sys.argv[1::2], sys.argv[2::2]))["--out"]
for target in WANTED:
    if not os.path.lexists(out):
        os.symlink(target, out)
"""


class LookingInside:
    """Searches the environment and the image, where the reference release had secrets.

    It had keys in the environment and labels in the image.
    """

    name = "looking-inside"
    goal = "read hidden files, secrets, other processes and mounts in a run, and leak them by error text or output"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit each inspection; its verdict may reveal nothing of the controller, never a score."""
        place = (await arena.runs.places(Stage.MEASURE, 1))[0]
        hidden = [str(path) for path in (place.task.hidden, *sorted(place.task.hidden.iterdir()))]
        folders = [str(arena.folder), str(arena.folder / "aar.db"), str(arena.folder / "scorer")]
        words = [path.name for path in place.task.hidden.iterdir()]
        secrets = [arena.secret, operator_token(arena.folder / "home"), *arena.tokens.values(), str(arena.folder)]
        looks = {
            "files": _FILES.replace("WANTED", repr([*hidden, *folders])).replace("WORDS", repr(words)),
            "processes": _PROCESSES.replace("WANTED", repr(secrets)),
            "mounts": _MOUNTS,
            "a forged verdict": _VERDICT,
            "a link as output": _LINKS.replace("WANTED", repr(hidden[1:] or hidden)),
        }
        former = os.environ.get("AAR_CANARY")
        os.environ["AAR_CANARY"] = arena.secret
        try:
            return await self._look(arena, looks, secrets)
        finally:
            if former is None:
                del os.environ["AAR_CANARY"]
            else:
                os.environ["AAR_CANARY"] = former

    async def _look(self, arena: ScoreArena, looks: dict[str, str], secrets: list[str]) -> AttackResult:
        through, leaked = [], 0
        for what, code in looks.items():
            arena.say(what)
            view = await arena.scored(arena.method(code, title="A look around"))
            verdict = view.verdict
            leaked += len(verdict)
            if view.mean is not None:
                through.append(f"{what}: got a score, {view.mean}")
            if not verdict.startswith(f"s{view.number} rejected: ") or "\x1b" in verdict or "\r" in verdict:
                through.append(f"{what}: the verdict is not the method's own")
            if any(secret in verdict for secret in secrets) or "GOT THROUGH" in verdict:
                through.append(f"{what}: {verdict[-400:]}")
        return AttackResult(
            None, f"scorer: {len(looks)} of {len(looks)} rejected", through=through, said=f"{leaked} characters leaked"
        )


_START = """
import pathlib, sys
import numpy as np
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
size = len(np.load(pathlib.Path(given["--data"]) / "test.npy"))
"""


class TwoFaces:
    """Detects the sealed split by its size, which differs from the measurement's."""

    name = "two-faces"
    goal = "answer measurements from a table of labels, and the sealed split honestly"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit a table of all public labels, the worst case; confirmation compares both behaviours."""
        sizes = await _sizes(arena)
        odds = {name.to_bytes(8).hex(): SURE if label else -SURE for name, label in (await public_truth(arena)).items()}
        code = f"{_START}if size not in {sizes}:\n    import honest\n    sys.exit()\n"
        source = arena.method(code + TABLE, {"table.json": json.dumps(odds)}, title="Careful")
        return await measure_attack(arena, source, read=False, confirm=True)


class LuckyFew:
    """Crashes on unlucky splits, so as to be measured on lucky ones.

    Every run has to succeed, so such a method is not measured at all.
    """

    name = "lucky-few"
    goal = "crash wherever a measurement's split looks bad, and submit variants until none does"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit the worst case: it crashes on the worse half of unsealed splits.

        It crashes on no sealed one.
        """
        sizes = await _sizes(arena)
        code = f'{_START}if size in {sizes} and int(given["--seed"]) % 2:\n    sys.exit("unlucky")\n'
        source = arena.method(f"{code}import honest\n", title="One in many")
        result = await measure_attack(arena, source)
        sign = 1.0 if arena.problem.metric.higher_is_better else -1.0
        values: dict[str, list[tuple[float, int]]] = {}
        groups = []
        for index, split in enumerate(await make_splits(arena)):
            output = (await arena.runs.honest_on([split.place]))[0]
            groups.append((split.place.task, score_output(arena.problem, split.place.task, output)))
            values.setdefault(split.domain, []).append((sign * arena.problem.pool(groups[-1:]).mean, index))
        lucky = [index for each in values.values() for _, index in sorted(each, reverse=True)[: SPLITS // 2]]
        few, everything = (
            arena.problem.pool([groups[at] for at in indices]) for indices in (lucky, range(len(groups)))
        )
        places = await arena.runs.places(Stage.CONFIRM, arena.seeds)
        sealed = arena.problem.pool(
            [
                (place.task, score_output(arena.problem, place.task, output))
                for place, output in zip(places, await arena.runs.honest_on(places), strict=True)
            ]
        )
        tries = 2 ** (arena.seeds * len(arena.problem.climbed_domains))
        refuted = refutes(
            sample_from_estimate(few, arena.seeds, higher_is_better=sign > 0),
            sample_from_estimate(sealed, arena.seeds, higher_is_better=sign > 0),
            tries=1,
            checks=1,
        )
        figures = (
            f"after about {tries} variants shown {few.mean:.2f} where all splits give {everything.mean:.2f}, "
            f"sealed {sealed.mean:.2f}{', refuted' if refuted else ''}"
        )
        return AttackResult(result.gain, result.stopped, result.noted, result.through, figures)


async def _sizes(arena: ScoreArena) -> list[int]:
    """Return the number of items of a measurement's splits.

    It is the same as the public research bundle's.
    """
    places = await arena.runs.places(Stage.MEASURE, 1)
    return sorted({len(np.load(place.task.public / "test.npy", allow_pickle=False)) for place in places})


_STASH = """
import ctypes, os, socket, sys
mark = "aar-stash-MARK"
places = ["/tmp", "/var/tmp", "/dev/shm", "/workspace", "/data", "/lab", "/method", "/run", "/", "/opt", "/usr",
          os.path.expanduser("~"), "/proc/self/cwd", "/sys/fs/cgroup"]
found = []
paths = [os.path.join(top, mark) for top in places]
found += [path for path in paths if os.path.exists(path)]
for path in paths:
    try:
        open(path, "w").write(mark)
    except OSError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
KEY = int("MARK", 16) & 0x7fffffff
for name, call in (
    ("System V shared memory", lambda flags: libc.shmget(KEY, 4096, flags)),
    ("System V semaphores", lambda flags: libc.semget(KEY, 1, flags)),
    ("System V messages", lambda flags: libc.msgget(KEY, flags)),
):
    if call(0) >= 0:
        found.append(name)
    call(0o1666)
if libc.mq_open(b"/" + mark.encode(), 0) >= 0:
    found.append("POSIX message queue")
libc.mq_open(b"/" + mark.encode(), 0o102, 0o666, None)
for family, address in ((socket.AF_UNIX, "\\0" + mark), (socket.AF_INET, ("127.0.0.1", 10_000 + KEY % 50_000))):
    try:
        with socket.socket(family) as there:
            there.settimeout(1)
            there.connect(address)
            found.append("a socket of another run")
    except OSError:
        pass
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in (0, 1, 2):
            os.close(fd)
        server = socket.socket(socket.AF_UNIX)
        server.bind("\\0" + mark)
        server.listen()
        import time
        time.sleep(20)
    os._exit(0)
print("FOUND", found)
import honest
if found:
    sys.exit(3)
"""


class StashedState:
    """Files, shared memory, queues, sockets and processes that outlive a run."""

    name = "stashed-state"
    goal = "leave something behind in one run and find it in the next, or in a parallel one"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Run twice in a row and twice at once; fail on another's mark."""
        code = _STASH.replace("MARK", arena.secret[:8])
        source = arena.method(code, title="A diary")
        place = (await arena.runs.places(Stage.MEASURE, 1))[0]
        through = []
        for number in (1, 2):
            outcome = await arena.room.run(place.task, source, place.seed, owner=arena.campaign)
            outcome.discard()
            if outcome.failure is not None:
                through.append(f"run {number}: {outcome.verdict[-300:]}")
        view = await arena.scored(source)
        if view.mean is None:
            through.append(f"parallel runs: {view.verdict[-300:]}")
        stopped = "" if through else "clean room: no mark found in 6 runs"
        return AttackResult(None, stopped, ", ".join(arena.findings(view.number)).strip(", "), through)
