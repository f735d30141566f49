#!/usr/bin/env bash
# A tool call that max_tokens cuts off comes out of the SDK's stream as a complete, valid and different call.
#
# Fact:     the stream helper parses tool input leniently (jiter's partial mode), also after the stream has ended. A number
#           that is cut off becomes the shorter number, with no mark on the block: 0.0003 became 0.0.
# Versions: anthropic 2.14.0, with its own jiter; Python 3.11.
# Expected: an input that is not complete JSON raises, or stays a string.
# Observed: stop_reason max_tokens; input {'rate': 0.0}; 2026-11-29.
# Impact:   a client that runs a message's tool calls without checking stop_reason first runs one that the model never wrote.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check anthropic==2.14.0
"$folder/venv/bin/python" - <<'PY'
import json, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
import anthropic

USAGE = {"input_tokens": 9, "output_tokens": 1}
EVENTS = [
    {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5-5",
     "content": [], "stop_reason": None, "stop_sequence": None, "usage": USAGE}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "train", "input": {}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"rate": 0.0'}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "max_tokens", "stop_sequence": None}, "usage": {"output_tokens": 8}},
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
with client.messages.stream(model="claude-opus-5-5", max_tokens=8, messages=[{"role": "user", "content": "train at 0.0003"}]) as stream:
    message = stream.get_final_message()
server.shutdown()
print(message.stop_reason, message.content[0].input)
assert message.stop_reason == "max_tokens", message
assert message.content[0].input == {"rate": 0.0}, message
PY
