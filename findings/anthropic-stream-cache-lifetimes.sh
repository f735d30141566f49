#!/usr/bin/env bash
# After a stream, usage has the end's cache total with the start's split by lifetime, and the two do not add up.
#
# Fact:     message_delta's usage is cumulative and overwrites cache_creation_input_tokens, but the split of that figure by
#           lifetime (cache_creation.ephemeral_5m/1h_input_tokens) stays that of message_start. `iterations` of the last
#           delta is dropped by the plain (not beta) stream.
# Versions: anthropic 2.14.0; Python 3.11.
# Expected: the fields of one usage object belong to one moment: total = 5m + 1h.
# Observed: cache_creation_input_tokens 5000, split 100 + 0; no iterations; 2026-11-29.
# Impact:   the two lifetimes have different prices; a bill made from the split is too low, one that adds both counts twice.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check anthropic==2.14.0
"$folder/venv/bin/python" - <<'PY'
import json, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
import anthropic

START = {"input_tokens": 9, "output_tokens": 1, "cache_creation_input_tokens": 100,
         "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0}}
END = {"input_tokens": 20, "output_tokens": 50, "cache_creation_input_tokens": 5000,
       "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 4000},
       "iterations": [{"type": "message", "input_tokens": 20, "output_tokens": 50,
                       "cache_creation_input_tokens": 5000, "cache_read_input_tokens": 0}]}
EVENTS = [
    {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5-5",
     "content": [], "stop_reason": None, "stop_sequence": None, "usage": START}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "done"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": END},
    {"type": "message_stop"},
]

class Service(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for event in EVENTS:
            self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    def log_message(self, *_): pass

server = HTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = anthropic.Anthropic(api_key="none", base_url=f"http://127.0.0.1:{server.server_port}")
with client.messages.stream(model="claude-opus-5-5", max_tokens=99, messages=[{"role": "user", "content": "go"}]) as stream:
    usage = stream.get_final_message().usage
server.shutdown()
split = usage.cache_creation
print(usage.cache_creation_input_tokens, split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens, getattr(usage, "iterations", None))
assert usage.cache_creation_input_tokens == 5000
assert (split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens) == (100, 0)
assert getattr(usage, "iterations", None) is None
PY
