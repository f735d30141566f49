"""Attacks that carry state from one run to another.

With it a method could add up the answers of single runs.
"""

from __future__ import annotations

from aar.problems.protocol import Stage
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.score_arena import ScoreArena

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
            if not outcome.ok:
                through.append(f"run {number}: {outcome.verdict[-300:]}")
        view = await arena.scored(source)
        if view.mean is None:
            through.append(f"parallel runs: {view.verdict[-300:]}")
        stopped = "" if through else "clean room: no mark found in 6 runs"
        return AttackResult(None, stopped, ", ".join(arena.findings(view.number)).strip(", "), through)
