"""Faults of the model service in ``soak.py``, by kind, and its team's methods."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aar.testing.fake_messages_api import (
    CutShort,
    Drop,
    Fault,
    HttpError,
    MessagesRequest,
    Misreport,
    ModelReply,
    OtherReply,
    Stall,
    StreamError,
    VerbatimResponse,
    paused_reply,
    refusal_reply,
    text_block,
    thinking_block,
    tool_use_block,
)

EDITOR = "str_replace_based_edit_tool"
HOUR = "asks to come back in an hour"
LASTING = {"the same turn again and again": 3}
"""Kinds that last for so many requests in a row."""
_SSE = {"content-type": "text/event-stream"}
_NOTHING = {"input_tokens": 0, "output_tokens": 0}
_KNOWN = {"input_tokens": 900, "output_tokens": 90}


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn without a fault: text that names the request, and tool calls."""

    words: dict[str, Any]
    calls: Callable[[], Sequence[dict[str, Any]]]

    @property
    def content(self) -> list[dict[str, Any]]:
        """Return all of its content."""
        return [self.words, *self.calls()]

    def reply(self) -> ModelReply:
        """Return it as a reply."""
        return ModelReply(self.content)


Make = Callable[[Turn, MessagesRequest], Fault]


def code(number: int, odd_every: int) -> str:
    """Return a command that writes a method.

    The output of one of ``odd_every`` is constant, over which the problem fails.
    """
    odd = number % odd_every == odd_every // 4
    title = f"constant {number}" if odd else f"mean plus {number}"
    guess = f"{number // odd_every % 4 + 1}.0" if odd else f"fmean(points.y) + {number} / 10000 + x / 1000"
    manifest = f"title: {title}\nclaim: It guesses.\nfamilies: [other]\n"
    run = (
        "import toylab\nfrom statistics import fmean\npoints = toylab.read()\n"
        f"toylab.write(points, [{guess} for x in points.test_x])\n"
    )
    texts = json.dumps({"method.yaml": manifest, "run.py": run})
    write = f"import json; [open('m{number}/' + n, 'w').write(t) for n, t in json.load(open('files.json')).items()]"
    return f"mkdir -p m{number} && cat > files.json <<'END'\n{texts}\nEND\npython3 -c \"{write}\" && echo ready"


def _instead(change: Callable[[Turn, MessagesRequest], ModelReply | VerbatimResponse]) -> Make:
    return lambda turn, request: OtherReply(change(turn, request))


def _always(fault: Fault) -> Make:
    return lambda turn, request: fault


def _input(raw: str) -> Make:
    """Return a tool call whose input is this text."""
    return _instead(
        lambda turn, request: ModelReply([turn.words, tool_use_block("bash", command="date")], raw_input=raw)
    )


def _calls(*calls: dict[str, Any]) -> Make:
    return _instead(lambda turn, request: ModelReply([turn.words, *calls]))


def _bash(command: str) -> dict[str, Any]:
    return tool_use_block("bash", command=command)


def _first_event(kind: str) -> Make:
    error = json.dumps({"type": "error", "error": {"type": kind, "message": "Too much at once"}})
    return _instead(lambda turn, request: VerbatimResponse(200, _SSE, f"event: error\ndata: {error}\n\n".encode()))


def _page(status: int) -> Make:
    body = b"<html><body>Please log in to the network.</body></html>"
    return _instead(lambda turn, request: VerbatimResponse(status, {"content-type": "text/html"}, body))


def _in_one_piece(turn: Turn, request: MessagesRequest) -> Fault:
    """Answer like a server that does not know ``stream``."""
    request.body["stream"] = False  # type: ignore[index]
    return OtherReply(turn.reply())


def _named(identifier: str, *, twice: bool = False) -> Make:
    def change(turn: Turn, request: MessagesRequest) -> ModelReply:
        calls = [{**_bash("date"), "id": identifier}, {**_bash("pwd"), "id": identifier}]
        return ModelReply([turn.words, *(calls if twice else calls[:1])])

    return _instead(change)


KINDS: dict[str, Make] = {
    # a tool meets the file system
    "tool: path below a file": _calls(
        _bash("echo x > plain"), tool_use_block(EDITOR, command="view", path="/workspace/plain/x")
    ),
    "tool: link to itself": _calls(
        _bash("ln -sfn loop loop"), tool_use_block(EDITOR, command="create", path="/workspace/loop", file_text="x")
    ),
    "tool: name too long": _calls(
        tool_use_block(EDITOR, command="create", path=f"/workspace/{'n' * 300}", file_text="x")
    ),
    "tool: unreadable method": _calls(
        _bash("mkdir -p shut && touch shut/run.py && chmod 000 shut/run.py"),
        tool_use_block("submit_method", path="/workspace/shut"),
    ),
    "tool: result has no place": _calls(_bash("rm -rf .aar; touch .aar; seq 90000"), _bash("rm -f .aar; echo cleared")),
    "tool: NUL in a command": _calls(_bash("echo \0")),
    # replies without use
    "refused": _instead(lambda turn, request: refusal_reply()),
    "empty": _instead(lambda turn, request: ModelReply([], "end_turn")),
    "thinking only": _instead(lambda turn, request: ModelReply([thinking_block("hm")], "max_tokens")),
    "paused and empty": _instead(lambda turn, request: paused_reply()),
    "words only": _instead(lambda turn, request: ModelReply([turn.words])),
    "cut within a call": _always(CutShort(8)),
    "the same turn again and again": _instead(
        lambda turn, request: ModelReply([text_block("Again."), tool_use_block("leaderboard")])
    ),
    # replies that cannot be sent back as they are
    "call ids begin anew": _named("call_0"),
    "one call id twice": _named("call_1", twice=True),
    "unknown block": _instead(
        lambda turn, request: ModelReply([{"type": "stage_direction", "text": "aside"}, *turn.content])
    ),
    "input: NaN": _input('{"command": "date", "restart": NaN}'),
    "input: half a character": _input('{"command": "echo \\ud83d"}'),
    "input: deep": _input('{"command": ' + "[" * 2000 + "]" * 2000 + "}"),
    "input: number of 5,000 digits": _input('{"command": ' + "9" * 5000 + "}"),
    "input: not JSON": _input('{"command": '),
    "a message is not taken back": _always(HttpError(400, "messages.1.content.0: Input should be a valid dictionary")),
    "too long, in other words": _always(
        HttpError(400, "input length and `max_tokens` exceed context limit: 195000 + 8192 > 200000")
    ),
    # the service is crowded, or something else answers
    "overloaded (529)": _always(HttpError(529)),
    "rate limit, come back in 3 s": _always(HttpError(429, retry_after=3)),
    "server error (500)": _always(HttpError(500)),
    "overload as first event": _first_event("overloaded_error"),
    "rate limit as first event": _first_event("rate_limit_error"),
    "a proxy's page (200)": _page(200),
    "a proxy's page (502)": _page(502),
    "empty body": _instead(lambda turn, request: VerbatimResponse(200, _SSE, b"")),
    # streams that break, or are none
    "no stream but a message": _in_one_piece,
    "error in mid-stream": _always(StreamError(4)),
    "error after the end": _always(StreamError(1_000_000)),
    "lost before the response": _always(Drop(None)),
    "lost in mid-stream": _always(Drop(4)),
    "silent, then lost": _always(Stall(3, 3.0)),
    # usage told wrongly
    "usage: none": _always(Misreport(start=None, end=None)),
    "usage: zeros": _always(Misreport(start=_NOTHING, end=_NOTHING)),
    "usage: negative": _always(Misreport(end={**_NOTHING, "output_tokens": -3})),
    "usage: fractions": _always(Misreport(start={**_KNOWN, "input_tokens": 12.5})),
    "usage: words": _always(Misreport(start={**_KNOWN, "input_tokens": "12"})),
    "usage: shrinks": _always(Misreport(start={**_KNOWN, "cache_read_input_tokens": 9000}, end=_KNOWN)),
    "another model's name": _always(Misreport(model="claude-opus-4-1")),
}
"""By name: what is done to a reply."""
