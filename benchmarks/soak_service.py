"""The model service of ``soak.py``: a Messages API double with its own bill.

It runs in a process of its own.

Run: python benchmarks/soak_service.py TIMES SEED THINKING CHAT ODD_EVERY

It plays a team whose members write a method, submit it, wait for its score, and begin again. About every second reply
goes wrong in one of the ways of ``KINDS``, each of them TIMES times; a good one takes THINKING seconds or half of it
more or less. On standard output it names its address and that of its controls: GET /state and /bill; POST /down, /up
(an outage), /hour (the next call is asked to come back in an hour) and /finish (nothing goes wrong any more, and
researchers without a queued submission finish).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import re
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from soak_faults import HOUR, KINDS, LASTING, Turn, code

from aar.testing.fake_messages_api import (
    FakeMessagesApi,
    Fault,
    FunctionModel,
    HttpError,
    MessagesRequest,
    ModelReply,
    ServerRules,
    text_block,
    tool_use_block,
)
from aar.testing.fake_messages_api.transport import LocalServer, base_url_of, listen_on_loopback, server_config
from aar.testing.ledger_comparison import price_response

_NAME = re.compile(r"^Researcher: (r\d+)$", re.MULTILINE)
_AT_ONCE = 0.5
"""Requests that were on their way when the service asked for a pause arrive within this time."""


@dataclass(slots=True)
class Asked:
    """One request for a message.

    Args:
        kind: the kind of its fault; empty if there is none.
        done: when the reply was ready, in seconds of the epoch; 0 while there is none.
        early: whether it came within a pause that the service had asked for.
    """

    number: int
    researcher: str
    kind: str
    at: float
    done: float = 0.0
    early: bool = False


@dataclass(slots=True)
class Service:
    """The team's model and its faults.

    Args:
        deck: kinds that are still to come.
        thinking: seconds of a reply.
        chat: share of turns that inspect the workspace instead of submitting a method.
        submitted, scored: numbers of submissions that appeared in the team's results.
    """

    deck: list[str]
    dice: random.Random
    thinking: float = 1.0
    chat: float = 0.2
    odd_every: int = 20
    asked: dict[int, Asked] = field(default_factory=dict)
    struck: Counter[str] = field(default_factory=Counter)
    submitted: set[str] = field(default_factory=set)
    scored: set[str] = field(default_factory=set)
    finishing: bool = False
    hour: bool = False
    _written: dict[str, int] = field(default_factory=dict)
    _since: Counter[str] = field(default_factory=Counter)
    _lasting: dict[str, tuple[str, int]] = field(default_factory=dict)
    _pause: tuple[float, float] = (0.0, 0.0)

    async def play(self, request: MessagesRequest) -> ModelReply:
        """Return a researcher's reply without a fault."""
        asked = self.asked[request.number]
        await asyncio.sleep(self.thinking * self.dice.uniform(0.5, 1.5))
        asked.done = time.time()
        self._since[asked.researcher] += not asked.kind
        return self._turn(request).reply()

    def fault(self, request: MessagesRequest) -> Fault | None:
        """Return a request's fault."""
        name = researcher_of(request.body)
        asked = self.asked[request.number] = Asked(request.number, name, "", time.time())
        asked.early = self._pause[0] + _AT_ONCE < asked.at < self._pause[1]
        if self.hour:
            self.hour = False
            return self._struck(asked, HOUR, HttpError(429, retry_after=3600))
        if name in self._lasting:
            kind, left = self._lasting.pop(name)
            if left > 1:
                self._lasting[name] = kind, left - 1
        elif self.deck and not self.finishing and request.turns and self._since[name] and self.dice.random() < 0.7:
            kind = self.deck.pop()
            if kind in LASTING:
                self._lasting[name] = kind, LASTING[kind] - 1
        else:
            return None
        fault = KINDS[kind](self._turn(request), request)
        if isinstance(fault, HttpError) and fault.retry_after:
            self._pause = asked.at, asked.at + fault.retry_after
        return self._struck(asked, kind, fault)

    def _struck(self, asked: Asked, kind: str, fault: Fault) -> Fault:
        asked.kind = kind
        asked.done = asked.at
        self.struck[kind] += 1
        self._since[asked.researcher] = 0
        return fault

    def _turn(self, request: MessagesRequest) -> Turn:
        """Return the researcher's next turn, from the results of the last one."""
        told = "\n".join(_texts(request.results()))
        words = text_block(f"#{request.number} so it goes")
        received = re.search(r"^Submission (s\d+) received", told, re.MULTILINE)
        waiting = re.search(r"^(s\d+) is still", told, re.MULTILINE)
        scored = re.search(r"^(s\d+) (?:measured|rejected)", told, re.MULTILINE)
        if scored:
            self.scored.add(scored[1])
        if received or waiting:
            number = (received or waiting)[1]
            self.submitted.add(number)
            return Turn(
                words, lambda: [tool_use_block("wait", **{"for": "submission", "id": number, "timeout_seconds": 120})]
            )
        if self.finishing:
            return Turn(words, lambda: [tool_use_block("finish", summary="That was the night.")])
        if self.dice.random() < self.chat:
            return Turn(words, lambda: [tool_use_block("leaderboard"), tool_use_block("budget")])
        if scored and self.dice.random() < 0.3:
            title, body = f"What {scored[1]} taught", f"{scored[1]} says that an offset of its kind is worth little."
            return Turn(words, lambda: [tool_use_block("post", kind="result", title=title, body=body)])
        return Turn(words, lambda: self._method(request))

    def _method(self, request: MessagesRequest) -> list[dict[str, Any]]:
        """Write a method, the same one for the same request.

        The problem fails over one of twenty.
        """
        said = json.dumps([researcher_of(request.body), request.body["messages"]], sort_keys=True)
        digest = hashlib.sha256(said.encode()).hexdigest()
        if digest not in self._written:
            self._written[digest] = len(self._written)
        number = self._written[digest]
        return [
            tool_use_block("bash", command=code(number, self.odd_every)),
            tool_use_block("submit_method", path=f"/workspace/m{number}"),
        ]

    def state(self) -> dict[str, Any]:
        """Return the progress of the night."""
        clean = [each.done for each in list(self.asked.values()) if each.done and not each.kind]
        return {
            "requests": len(self.asked),
            "clean": len(clean),
            "last": max(clean, default=0.0),
            "left": len(self.deck),
            "struck": dict(self.struck),
            "submitted": len(self.submitted),
        }


def researcher_of(body: Any) -> str:
    """Return the name of the requesting researcher."""
    found = _NAME.search("\n".join(str(each.get("text", "")) for each in body.get("system") or ()))
    return found[1] if found else "nobody"


def _texts(results: Any) -> list[str]:
    found: list[str] = []
    for result in results:
        content = result.get("content") or ""
        found += [content] if isinstance(content, str) else [str(each.get("text", "")) for each in content]
    return found


def bill(service: Service, exchanges: deque[Any]) -> list[dict[str, Any]]:
    """Return every request with its cost by the service's own account.

    A reply is billed once it was begun.
    """
    rows = []
    for each in list(exchanges):
        if each.path != "/v1/messages":
            continue
        refused = each.status >= 400 and not each.fault  # by its rules, before anything went wrong on purpose
        unknown = Asked(each.number, researcher_of(each.body), "", 0.0)
        asked = unknown if refused else service.asked.get(each.number, unknown)
        cost = price_response(each.answer) if each.status == 200 and each.answer is not None else None
        paid = {"usd": str(cost.usd), "tokens": cost.tokens} if cost else {"usd": None, "tokens": 0}
        said = json.dumps(each.answer)[:300] if refused else ""
        rows.append({**asdict(asked), **paid, "status": each.status, "refused": said})
    return rows


class _Controls(ThreadingHTTPServer):
    """The controls of the service for the night's driver."""

    daemon_threads = True

    def __init__(self, service: Service, double: FakeMessagesApi, switch: Any) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service, self.double, self.switch = service, double, switch


class _Handler(BaseHTTPRequestHandler):
    server: _Controls

    def do_GET(self) -> None:
        service = self.server.service
        self._answer(bill(service, self.server.double.requests) if self.path == "/bill" else service.state())

    def do_POST(self) -> None:
        service = self.server.service
        match self.path:
            case "/down" | "/up":
                self.server.switch(self.path == "/up")
            case "/hour":
                service.hour = True
            case "/finish":
                service.finishing = True
        self._answer({})

    def log_message(self, *_: Any) -> None:
        """Write no log."""

    def _answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


async def serve(service: Service) -> None:
    """Serve until standard input ends.

    An outage closes the port, and breaks open connections.
    """
    double = FakeMessagesApi(
        FunctionModel(service.play), faults=service.fault, rules=ServerRules(strict=True), most_logged=1_000_000
    )
    loop, up, down = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def switch(on: bool) -> None:
        loop.call_soon_threadsafe((up if on else down).set)
        loop.call_soon_threadsafe((down if on else up).clear)

    controls = _Controls(service, double, switch)
    threading.Thread(target=controls.serve_forever, daemon=True).start()
    listening = listen_on_loopback()
    port = listening.getsockname()[1]
    print(json.dumps({"service": base_url_of(listening), "controls": controls.server_address[1]}), flush=True)
    over = loop.run_in_executor(None, sys.stdin.read)
    while not over.done():
        server = LocalServer(server_config(double))
        running = asyncio.create_task(server.serve(sockets=[listening]))
        going = asyncio.ensure_future(down.wait())
        await asyncio.wait([going, over], return_when=asyncio.FIRST_COMPLETED)
        going.cancel()
        server.should_exit = True
        await running
        listening.close()
        back = asyncio.ensure_future(up.wait())
        await asyncio.wait([back, over], return_when=asyncio.FIRST_COMPLETED)
        back.cancel()
        if not over.done():
            listening = listen_on_loopback(port)
    controls.shutdown()


def main() -> None:
    """Serve a night."""
    times, seed, thinking, chat = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    odd_every = int(sys.argv[5])
    logging.disable(logging.CRITICAL)  # an outage breaks what is under way, and a server complains of that
    dice = random.Random(seed)
    deck = [kind for kind in KINDS for _ in range(times)]
    dice.shuffle(deck)
    asyncio.run(serve(Service(deck, dice, thinking, chat, odd_every)))


if __name__ == "__main__":
    main()
