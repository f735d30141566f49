"""Measures the cost of an attack to honest work.

Run: python benchmarks/under_attack.py [--backend bubblewrap] [--connections 2000]

Two campaigns run one after the other, each by ``aar start`` with a hard limit of 1,024 open files. In each, one
researcher submits honest methods, all at once, while ten others submit one method each. In the first campaign those are
honest as well and there is no other load. In the second they are hostile (trees that are deep or have long paths, code
that is costly to analyse, texts and outputs that are costly to read), and half-open connections to the pages stay open.

An honest submission's wait is the time from its receipt to its score, less the time in which methods ran. Printed are
the median and the longest of both campaigns, their ratio, how the campaigns ended, and what is left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import yaml
from sqlalchemy import select

from aar.store import open_database
from aar.store.models import Campaign, EventRecord, Researcher, ScoringRun, Submission
from aar.testing.fake_messages_api import (
    FakeMessagesApi,
    FunctionModel,
    MessagesRequest,
    ModelReply,
    ServerRules,
    serve_app_in_thread,
    tool_use_block,
)

FILES = 1024
HONEST = 6
PATIENCE = 280.0
MODEL = "claude-haiku-4-5"
HALF = b"GET /campaigns HTTP/1.1\r\nHost: 127.0.0.1\r\n"
HEAD = "import sys\nimport toylab\nfrom statistics import fmean\npoints = toylab.read()\n"
ANSWER = "toylab.write(points, [fmean(points.y) + {offset}] * len(points.test_x))\n"
HOSTILE: dict[str, str] = {
    "a deep tree": ("import os\nos.chdir('/workspace')\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\n"),
    "long paths": (
        "import os\nos.chdir('/workspace')\nfor _ in range(24):\n    os.mkdir('n' * 250)\n    os.chdir('n' * 250)\n"
    ),
    "texts of code": "exec('a=b.c\\n'*16000)\n" * 12,
    "long chains": "q = fmean\n" + ("0 and q" + ".a" * 800 + "\n") * 20,
    "a large file": "".join(f"a{n} = str({n})\n" for n in range(4_000)),
    "a crash of slashes": "print('/' * 16000)\nsys.exit(1)\n",
    "a crash of letters": "print('x' * 100000, file=sys.stderr)\nsys.exit(1)\n",
    "a flood of output": "for _ in range(20000):\n    print('y' * 1000)\n",
    "many files": "import os\nfor n in range(3000):\n    open(f'/workspace/{n}', 'w').close()\n",
    "brackets": "0 and " + "[" * 80 + "]" * 80 + "\n",
}


def method(title: str, body: str) -> str:
    """Return a command that writes a method's files into a folder of that name."""
    folder = title.replace(" ", "-")
    manifest = f"title: {title}\nclaim: It guesses.\nfamilies: [other]\n"
    files = {"method.yaml": manifest, "run.py": HEAD + body}
    text = json.dumps(files)
    return (
        f"mkdir -p {folder} && cat > files.json <<'END'\n{text}\nEND\n"
        f"python -c \"import json; [open('{folder}/' + n, 'w').write(t) "
        "for n, t in json.load(open('files.json')).items()]\""
    )


@dataclass(frozen=True, slots=True)
class Team:
    """The team: the first submits several honest methods, each other one its own."""

    hostile: bool

    def reply(self, request: MessagesRequest) -> ModelReply:
        """Return the next turn of the requester."""
        found = re.search(r"Researcher: r(\d+)", request.system_text)
        number = int(found[1]) if found else 1
        methods = self._methods(number)
        if request.turns < len(methods):
            return ModelReply([tool_use_block("bash", command=method(*methods[request.turns]))])
        if request.turns == len(methods):
            return ModelReply([tool_use_block("submit_method", path=title.replace(" ", "-")) for title, _ in methods])
        return ModelReply([tool_use_block("finish", summary="done")])

    def _methods(self, number: int) -> list[tuple[str, str]]:
        if number == 1:
            return [(f"mean plus {each}", ANSWER.format(offset=each / 1000)) for each in range(HONEST)]
        title, body = list(HOSTILE.items())[number - 2]
        if not self.hostile:
            return [(f"other {number}", ANSWER.format(offset=-number / 1000))]
        return [(title, body + ANSWER.format(offset=0))]


class HalfOpen:
    """Connections that sent half a request, opened again as they are closed."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.opened = self.most = 0

    def __enter__(self) -> HalfOpen:
        if self._count:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._count:
            self._thread.join()

    def _run(self) -> None:
        held: list[socket.socket] = []
        while not self._over.wait(0.05):
            held = [each for each in held if not _closed(each)]
            for _ in range(min(200, self._count - len(held))):
                with contextlib.suppress(OSError):
                    each = socket.create_connection(("127.0.0.1", self._port), timeout=0.2)
                    each.sendall(HALF)
                    each.setblocking(False)
                    held.append(each)
                    self.opened += 1
            self.most = max(self.most, len(held))
        for each in held:
            each.close()


def _closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a campaign: waits, end and leftovers.

    Waits are in seconds, by honest submission.
    """

    waits: list[float]
    unscored: int
    ended: str
    verdicts: dict[str, str]
    left: list[str]
    opened: int
    log_bytes: int
    seconds: float


def campaign(home: Path, address: str, backend: str, *, hostile: bool, connections: int) -> Outcome:
    """Run one campaign to its end."""
    spec = home / "campaign.yaml"
    spec.parent.mkdir(parents=True)
    fields = {
        "problem": "toy",
        "researchers": {"count": 1 + len(HOSTILE), "model": MODEL, "base_url": address},
        "directions": {"deal": "same"},
        "sandbox": {"backend": backend},
        "limits": {"usd": 100, "hours": PATIENCE / 3600},
        "scoring": {"seeds": 1, "confirm_top": 0, "parallel": 1},
    }
    spec.write_text(yaml.safe_dump(fields))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "aar", "start", str(spec), "--plain", "--yes", "--port", str(port)]
    environment = os.environ | {"AAR_HOME": str(home), "ANTHROPIC_API_KEY": "not-a-key"}
    begun = time.monotonic()
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            ["prlimit", f"--nofile={FILES}:{FILES}", *command], env=environment, stdout=log, stderr=log
        )
        try:
            with HalfOpen(port, connections) as half:
                code = process.wait(PATIENCE + 60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            code = process.wait()
    took = time.monotonic() - begun
    waits, unscored, ended, verdicts = read_waits(home)
    return Outcome(
        waits,
        unscored,
        f"exit code {code}, {ended}",
        verdicts,
        left_behind(home),
        half.opened,
        (home / "log").stat().st_size + sum(each.stat().st_size for each in home.rglob("*.log")),
        took,
    )


def read_waits(home: Path) -> tuple[list[float], int, str, dict[str, str]]:
    """Read waits, unscored submissions, the campaign's state, and all verdicts.

    Waits are those of the first researcher's submissions.
    """
    db = open_database(f"sqlite:///{home / 'aar.db'}")
    with db.reading() as session:
        state = session.execute(select(Campaign.state, Campaign.cause)).one()
        names = {each.id: each.name for each in session.scalars(select(Researcher))}
        submissions = session.scalars(select(Submission).order_by(Submission.number)).all()
        runs = [(each.started_at, each.seconds) for each in session.scalars(select(ScoringRun)) if each.seconds]
        at: dict[tuple[str, int], datetime] = {}
        for kind, payload, moment in session.execute(
            select(EventRecord.kind, EventRecord.payload, EventRecord.at).where(
                EventRecord.kind.in_(("submission_received", "submission_measured", "submission_rejected"))
            )
        ):
            at[kind, payload["number"]] = moment
        waits, unscored = [], 0
        for each in submissions:
            if names[each.researcher_id] != "r1":
                continue
            received, scored = at["submission_received", each.number], at.get(("submission_measured", each.number))
            if scored is None:
                unscored += 1
            else:
                waits.append((scored - received).total_seconds() - _busy(runs, received, scored))
        verdicts = {each.title: each.state for each in submissions if names[each.researcher_id] != "r1"}
    db.close()
    return waits, unscored + HONEST - len(waits) - unscored, f"{state.state}: {state.cause}", verdicts


def _busy(runs: Sequence[tuple[datetime, float]], begin: datetime, end: datetime) -> float:
    """Return the seconds between two moments in which a method ran.

    Methods run one at a time here.
    """
    return sum(
        max(0.0, (min(end, started + timedelta(seconds=seconds)) - max(begin, started)).total_seconds())
        for started, seconds in runs
    )


def left_behind(home: Path) -> list[str]:
    """List processes, mounts and scoring sandboxes that are still there."""
    found = [f"mount {line.split()[1]}" for line in Path("/proc/mounts").read_text().splitlines() if str(home) in line]
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if place.name.isdigit() and str(home).encode() in (place / "cmdline").read_bytes():
                found.append(f"process {place.name}")
    return found + [f"folder {each}" for each in home.glob("campaigns/*/scoring/runs/*")]


def show(name: str, outcome: Outcome) -> None:
    """Print one campaign."""
    print(f"\n{name}: {outcome.ended}; {outcome.seconds:.0f} s")
    if outcome.waits:
        middle, longest = statistics.median(outcome.waits), max(outcome.waits)
        print(f"  {len(outcome.waits)} honest submissions scored: wait median {middle:.2f} s, longest {longest:.2f} s")
    print(f"  honest submissions without a score: {outcome.unscored}")
    print(f"  connections opened: {outcome.opened}; log {outcome.log_bytes / 1e6:.2f} MB")
    for title, state in outcome.verdicts.items():
        print(f"    {title}: {state}")
    print(f"  left behind: {', '.join(outcome.left) or 'nothing'}")


@contextlib.contextmanager
def team(*, hostile: bool) -> Iterator[str]:
    """Start a model server that plays the team."""
    double = FakeMessagesApi(FunctionModel(Team(hostile).reply), rules=ServerRules(strict=False))
    with serve_app_in_thread(double) as address:
        yield address


@contextlib.contextmanager
def scratch_folder() -> Iterator[str]:
    """Provide a folder that is removed with all trees and mounts in it."""
    scratch = tempfile.mkdtemp(prefix="aar-attack-")
    Path(scratch).chmod(0o711)
    try:
        yield scratch
    finally:
        for line in Path("/proc/mounts").read_text().splitlines():
            if (place := line.split()[1]).startswith(scratch):
                subprocess.run(["umount", place], check=False)
        subprocess.run(["rm", "-rf", "--one-file-system", scratch], check=False)


def main() -> None:
    """Run both campaigns and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="bubblewrap")
    parser.add_argument("--connections", type=int, default=2000)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with scratch_folder() as scratch:
        outcomes = []
        for name, hostile in (("calm", False), ("attacked", True)):
            with team(hostile=hostile) as address:
                connections = options.connections if hostile else 0
                outcomes.append(
                    campaign(Path(scratch) / name, address, options.backend, hostile=hostile, connections=connections)
                )
            show(name, outcomes[-1])
            sys.stdout.flush()
            log = Path(scratch) / name / "log"
            if outcomes[-1].unscored:
                print(log.read_text(errors="replace")[-3000:])
    calm, attacked = outcomes
    if calm.waits and attacked.waits:
        middle = statistics.median(attacked.waits) / statistics.median(calm.waits)
        longest = max(attacked.waits) / max(calm.waits)
        print(f"\nhonest wait under attack / without: median {middle:.2f}, longest {longest:.2f}")
    whole = not calm.unscored and not attacked.unscored and attacked.ended.startswith("exit code 0")
    print("the campaign went on" if whole else "THE CAMPAIGN DID NOT GO ON")
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
