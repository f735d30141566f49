#!/usr/bin/env bash
# A client with a transport of its own ignores HTTPS_PROXY and HTTP_PROXY, also with trust_env=True.
#
# Fact:     httpx2.Client reads the environment's proxies only when no transport= is passed, and says nothing otherwise.
#           HTTPTransport's own trust_env does not read them either. The pages on transports, proxies and environment
#           variables do not say so; the page on transports has Client(transport=HTTPTransport(retries=1)) for retries.
# Versions: httpx2 2.16.2; Python 3.11.
# Expected: trust_env=True, or its default, sends requests through the environment's proxies whatever the transport.
# Observed: through the proxy without transport=, direct with one, for http and https; 2026-11-30.
# Impact:   conversations and the key bypass the proxy that the environment names; where only that reaches out, no call works.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check httpx2==2.16.2
timeout 60 "$folder/venv/bin/python" - <<'PY'
import os, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import httpx2

connections = {"proxy": 0, "service": 0}

class Answer(BaseHTTPRequestHandler):
    def handle(self):
        connections[self.server.name] += 1
        super().handle()
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
    def do_CONNECT(self):
        self.send_error(502)
    def log_message(self, *_): pass

def start(name):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.name = name
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server

proxy, service = start("proxy"), start("service")
for name in list(os.environ):
    if name.lower().endswith("_proxy"):
        del os.environ[name]
os.environ["HTTP_PROXY"] = os.environ["HTTPS_PROXY"] = f"http://127.0.0.1:{proxy.server_port}"

def used(url, **options):
    before = dict(connections)
    with httpx2.Client(trust_env=True, timeout=10, **options) as client:
        try:
            client.get(url)
        except (httpx2.ProxyError, httpx2.ConnectError) as error:  # the proxy answers CONNECT with 502; port 9 refuses
            print(type(error).__name__, end=" ")
    return [name for name in connections if connections[name] > before[name]]

http, https = f"http://127.0.0.1:{service.server_port}/", "https://127.0.0.1:9/"
seen = []
for scheme, url in {"http": http, "https": https}.items():
    for case, options in {
        "no transport": {},
        "HTTPTransport(retries=1)": {"transport": httpx2.HTTPTransport(retries=1)},
        "HTTPTransport(trust_env=True)": {"transport": httpx2.HTTPTransport(trust_env=True)},
    }.items():
        seen.append(used(url, **options))
        print(f"{scheme}, {case}: connected to", *seen[-1] or ["neither"])
print("connections to the proxy:", connections["proxy"])
for server in (proxy, service):
    server.shutdown()
    server.server_close()
assert seen == [["proxy"], ["service"], ["service"], ["proxy"], [], []], seen
PY
