#!/usr/bin/env bash
# A stream that ends cleanly before message_stop is returned as a finished message.
#
# Fact:     when a proxy or a restarting server ends the response body between two events, the stream helper raises nothing.
#           get_final_message() returns the part received so far; stop_reason is None and the usage is that of message_start.
# Versions: anthropic 2.14.0, with its own httpx2; Python 3.11.
# Expected: a stream without message_stop raises, as a broken connection does.
# Observed: 'half a sen', stop_reason None, output_tokens 1; no exception; 2026-11-29.
# Impact:   half a reply enters a conversation as a complete one, and its bill is that of the first event.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check anthropic==2.14.0
"$folder/venv/bin/python" - <<'PY'
import json, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
import anthropic

EVENTS = [
    {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5-5",
     "content": [], "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "half a sen"}},
]

class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass

server = HTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = anthropic.Anthropic(api_key="none", base_url=f"http://127.0.0.1:{server.server_port}", max_retries=0)
with client.messages.stream(model="claude-opus-5-5", max_tokens=100, messages=[{"role": "user", "content": "a sentence"}]) as stream:
    message = stream.get_final_message()
client.close()
server.shutdown()
print(repr(message.content[0].text), message.stop_reason, message.usage.output_tokens)
assert message.content[0].text == "half a sen"
assert message.stop_reason is None
assert message.usage.output_tokens == 1
PY
