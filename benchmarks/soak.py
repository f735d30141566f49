"""Simulates a night with bad luck, in minutes.

Run: python benchmarks/soak.py [--short] [--backend docker|bubblewrap] [--seed N]

Eight researchers work on a problem whose owner made a mistake, with a model service that shows all faults of public bug
reports (``soak_faults.py``: each kind three times), and that is away three times, the last time for longer than the
campaign's patience. Meanwhile the controller is killed twice, the Docker engine restarts, the disk fills up, the
service asks for an hour's pause three times, and an operator pauses, writes, redirects and changes limits. Nothing in
``aar`` knows that this is a test, and its clock runs as always: it is the spec that has a short patience, and the
service that names short pauses. Scores are not confirmed at the end: the audits' calls would belong to no researcher.

At the end the ledger is compared with the service's own bill, the submissions with those that were made, the event log
and the report with the events of the night, and the machine with its state before. The exit code is 1 if any check
fails. Without root there is no disk to fill; without a Docker engine (or with ``--backend bubblewrap``) a researcher's
sandbox is killed instead. ``--short`` is a version of a minute: five researchers, each kind once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml
from soak_checks import Evidence, Fault, judged, show
from soak_world import (
    Home,
    ServiceProcess,
    keep_full,
    kill_sandbox,
    left_behind,
    problem_with_a_flaw,
    scratch_folder,
    small_disk,
    wait_for,
)

from aar.auth.tokens import operator_token
from aar.sandbox.docker.engine import default_tag
from aar.testing.servers import PrivateDockerEngine, docker_missing_reason, private_docker_engine

MODEL = "claude-sonnet-4-6"
LONGEST_STEP = 240.0


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a night.

    Args:
        researchers: how many.
        times: how often each kind of bad reply comes.
        thinking: seconds of a reply.
        chat: share of turns that inspect the workspace instead of submitting a method.
        odd_every: the problem fails over one of so many methods.
        seconds_away: seconds for which something is away, or full.
        patience_minutes: the campaign's, with its model service.
    """

    researchers: int = 8
    times: int = 3
    thinking: float = 1.0
    chat: float = 0.2
    odd_every: int = 20
    seconds_away: float = 12.0
    patience_minutes: float = 0.4


SHORT = Size(researchers=5, times=1, thinking=0.2, chat=0.7, odd_every=4, seconds_away=4.0, patience_minutes=1.0)


@dataclass(slots=True)
class Night:
    """The events of one campaign's night, one after another.

    Args:
        faults: faults other than those of single calls.
        heard: the output of commands during a fault, by fault.
        broken: failed expectations of the night's steps.
    """

    home: Home
    service: ServiceProcess
    spec: Path
    resume: Sequence[str]
    size: Size
    faults: list[Fault] = field(default_factory=list)
    heard: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Begin the campaign."""
        self.home.begin("start", str(self.spec), "--port", "0")
        self.work(3)

    def go_on(self) -> None:
        """Resume the campaign."""
        self.home.begin("resume", "--port", "0", *self.resume)

    def work(self, calls: int) -> None:
        """Let the team make the given number of calls without a new fault."""
        enough = self.service.ask("/state")["clean"] + calls
        wait_for(
            lambda: self._alive() and self.service.ask("/state")["clean"] >= enough, LONGEST_STEP, "the team's work"
        )

    def recovered(self, name: str, began: float) -> None:
        """Record the end of a fault, and wait until the team works again."""
        over = time.time()
        wait_for(lambda: self._alive() and self.service.ask("/state")["last"] > over, LONGEST_STEP, f"recovery: {name}")
        self.faults.append(Fault(name, began, over, time.time()))

    def _alive(self) -> bool:
        controller = self.home.controller
        if controller is None or controller.poll() is not None:
            tail = self.home.log.read_text(errors="replace")[-1500:]
            raise RuntimeError(f"the controller ended by itself:\n{tail}")
        return True

    def hear(self, what: str, *command: str) -> None:
        """Record the output of a command now."""
        self.heard[what] = self.heard.get(what, "") + self.aar(*command)

    def aar(self, *command: str) -> str:
        """Use the command line as a person does."""
        code, said = self.home.aar(*command)
        if code:
            self.broken.append(f"aar {' '.join(command)}: exit code {code}: {said.strip()[-300:]}")
        return said

    def ended(self, cause: str) -> None:
        """Wait until the controller has paused the campaign, for this cause."""
        assert self.home.controller is not None
        code = self.home.controller.wait(LONGEST_STEP)
        state, said = self.home.query("select state, cause from campaign")[0]
        if (code, state) != (0, "paused") or not re.search(cause, said):
            self.broken.append(f"expected a pause for {cause!r}: got exit code {code}, {state}: {said}")

    # What happens.

    def kill(self) -> None:
        """Kill the controller, and resume the campaign a little later."""
        began = time.time()
        self.home.kill()
        time.sleep(1)
        self.hear("a dead controller", "list")
        self.go_on()
        self.recovered("controller killed", began)

    def outage(self) -> None:
        """Stop the service for less than the campaign's patience."""
        began = time.time()
        self.service.ask("/down", post=True)
        time.sleep(self.size.seconds_away)
        self.hear("an outage", "status")
        while "; try " not in self.heard["an outage"] and time.time() - began < 40 * self.size.patience_minutes:
            self.hear("an outage", "status")
        self.service.ask("/up", post=True)
        self.recovered("service away", began)

    def long_outage(self) -> None:
        """Stop the service for longer: the campaign pauses, and a person resumes it."""
        began = time.time()
        self.service.ask("/down", post=True)
        self.ended("cannot reach")
        self.service.ask("/up", post=True)
        self.go_on()
        self.recovered("service away for longer than patience", began)

    def hour(self) -> None:
        """Request an hour's pause: the campaign pauses, and a person resumes it.

        The service requests it.
        """
        began = time.time()
        self.service.ask("/hour", post=True)
        self.ended("the service asks for a pause until")
        self.go_on()
        self.recovered("service asks for an hour", began)

    def full_disk(self) -> None:
        """Fill the disk, and make room again."""
        began = time.time()
        said = self.home.log.stat().st_size

        def met() -> bool:
            return re.search(rb"disk (is )?full", self.home.log.read_bytes()[said:]) is not None

        keep_full(self.home.folder.parent, self.size.seconds_away, met)
        self.recovered("disk full" if met() else "disk full, and nobody wrote", began)

    def engine(self, engine: PrivateDockerEngine) -> None:
        """Restart the Docker engine."""
        began = time.time()
        engine.stop()
        time.sleep(self.size.seconds_away)
        self.hear("an engine that is away", "status")
        engine.start()
        self.recovered("Docker engine restarts", began)

    def sandbox_killed(self) -> None:
        """Kill a researcher's sandbox."""
        began, campaign = time.time(), self.home.query("select id from campaign")[0][0]
        workspace = f"{self.home.folder.name}/campaigns/{campaign}/workspaces/r1"
        wait_for(lambda: kill_sandbox(workspace), LONGEST_STEP, "a sandbox to kill")
        self.recovered("sandbox killed", began)

    def operator(self) -> None:
        """Message the team, redirect one, raise the limit, pause and resume one."""
        self.aar("message", "all", "Say what you know before you try more.")
        self.aar("redirect", "r2", "Look at small offsets only.")
        self.aar("limits", "--usd", "150", "--researcher-turns", "900")
        self.aar("pause", "--researcher", "r3", "--reason", "a rest")
        self.work(3)
        self.aar("resume", "--researcher", "r3")

    def operator_by_api(self) -> None:
        """Do the same as a program."""
        found = re.findall(r"pages at (http://[\w.:]+)", self.home.log.read_text())
        headers = {"Authorization": f"Bearer {operator_token(self.home.folder)}"}
        campaign = self.home.query("select id from campaign")[0][0]
        with httpx.Client(base_url=f"{found[-1].rstrip('/')}/api/v1", headers=headers, timeout=30) as client:
            told = {"command": "message", "argument": "Carry on.", "researcher": "r1"}
            for path, body in (("controls", told), ("limits", {"limits": {"usd": 200}})):
                answer = client.post(f"/campaigns/{campaign}/{path}", json=body)
                if answer.status_code != 202:
                    self.broken.append(f"POST {path}: {answer.status_code} {answer.text[:200]}")

    def pause(self) -> None:
        """Pause the campaign and resume it."""
        self.aar("pause")
        self.ended("")
        self.go_on()
        self.work(2)

    def finish(self) -> None:
        """Let the deck of faults run out and the team finish."""
        wait_for(lambda: self._alive() and not self.service.ask("/state")["left"], 900, "the last fault")
        self.work(6)
        self.service.ask("/finish", post=True)
        assert self.home.controller is not None
        code = self.home.controller.wait(LONGEST_STEP)
        if code:
            self.broken.append(f"the last controller's exit code is {code}")


def spec_of(address: str, problem: Path, size: Size, backend: str) -> dict[str, Any]:
    """Return the spec of the campaign."""
    return {
        "name": "a night with bad luck",
        "problem": str(problem),
        "researchers": {
            "count": size.researchers,
            "model": MODEL,
            "base_url": address,
            "max_output_tokens": 2048,
            "patience_minutes": size.patience_minutes,
        },
        "directions": {"deal": "same"},
        "sandbox": {"backend": backend, "workspace_gib": 0.03, "memory_gib": 0.5, "patience_minutes": 5},
        "limits": {"usd": 100, "hours": 0.6},
        "scoring": {"seeds": 1, "confirm_top": 0},
    }


def steps(night: Night, *, short: bool, disk: bool, engine: PrivateDockerEngine | None) -> list[Callable[[], None]]:
    """Return the steps in order; the team works a little between."""
    sandboxes = night.sandbox_killed if engine is None else partial(night.engine, engine)
    if short:
        return [night.kill, night.outage, *([night.full_disk] if disk else [])]
    return [
        night.operator,
        night.outage,
        night.kill,
        sandboxes,
        night.hour,
        night.operator_by_api,
        *([night.full_disk] if disk else []),
        night.outage,
        night.pause,
        night.hour,
        night.kill,
        night.long_outage,
        night.hour,
    ]


def run(options: argparse.Namespace, scratch: Path, engine: PrivateDockerEngine | None) -> bool:
    """Run the night and judge it."""
    began = time.monotonic()
    backend = "docker" if engine is not None else "bubblewrap"
    size = SHORT if options.short else Size()
    service = ServiceProcess(size.times, options.seed, size.thinking, size.chat, size.odd_every)
    with small_disk(scratch / "disk") as mounted:
        environment = {"AAR_DOCKER_HOST": engine.address} if engine is not None else {}
        home = Home(scratch / "disk" / "home", options.aar.split(), environment)
        home.folder.mkdir()
        problem = problem_with_a_flaw(scratch / "problem")
        spec = scratch / "campaign.yaml"
        spec.write_text(yaml.safe_dump(spec_of(service.address, problem, size, backend)))
        night = Night(home, service, spec, ["--sandbox", backend], size)
        try:
            play(night, steps(night, short=options.short, disk=mounted, engine=engine), began)
            bill, state = service.ask("/bill"), service.ask("/state")
            events = night.aar("events", "--last", "0") + night.aar("events", "--last", "0", "--json")
            night.heard["alerts at the end"] = night.aar("status")
            night.aar("report", "--output", str(scratch / "report.html"))
            with contextlib.suppress(OSError):
                night.heard["the report"] = (scratch / "report.html").read_text()
            left = left_behind(scratch, engine.containers if engine is not None else list)
            campaign = (home.query("select id from campaign") or [("no campaign",)])[0][0]
            listed = json.loads(night.aar("sandbox", "list", "--json"))
            left += [f"sandbox {each['name']}" for each in listed if str(each["name"]).startswith(campaign)]
        finally:
            if home.controller is not None and home.controller.poll() is None:
                home.controller.kill()
                home.controller.wait()
            service.close()
            if options.keep:
                subprocess.run(["cp", "-a", str(home.folder), str(home.log), options.keep], check=False)
        evidence = Evidence(night.faults, night.heard, night.broken, events, left, state["struck"], size.times, bill)
        holds = judged(home, evidence)
    what = "a Docker engine of its own" if engine is not None else "bubblewrap"
    print(f"the night took {time.monotonic() - began:.0f} s, in sandboxes of {what}" + ("" if mounted else "; no disk"))
    show(holds)
    return holds.all_hold


def play(night: Night, what: Sequence[Callable[[], None]], began: float) -> None:
    """Run the steps one after another; failures are recorded for the judgement."""
    try:
        night.start()
        for step in what:
            name = getattr(step, "__name__", "Docker engine")
            print(f"{time.monotonic() - began:6.0f} s  {name}", file=sys.stderr, flush=True)
            step()
            night.work(4)
        print(f"{time.monotonic() - began:6.0f} s  the rest of the night", file=sys.stderr, flush=True)
        night.finish()
    except Exception as error:  # noqa: BLE001 - the judgement names it
        night.broken.append(f"{type(error).__name__}: {error}")


def main() -> None:
    """Run the night."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--backend", choices=["docker", "bubblewrap"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--aar", default=f"{sys.executable} -m aar", help="the command to put to the test")
    parser.add_argument("--keep", metavar="FOLDER", help="copy the campaign's home there")
    options = parser.parse_args()
    why = "not asked for" if options.backend == "bubblewrap" or options.short else docker_missing_reason()
    if why and options.backend == "docker":
        sys.exit(f"no Docker engine of its own: {why}")
    with contextlib.ExitStack() as stack:
        engine = None if why else stack.enter_context(private_docker_engine(default_tag("cpu")))
        scratch = stack.enter_context(scratch_folder())
        whole = run(options, scratch, engine)
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
