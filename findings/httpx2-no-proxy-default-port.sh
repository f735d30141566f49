#!/usr/bin/env bash
# NO_PROXY=host:443 exempts nothing: the port of an https address is dropped before it is compared.
#
# Fact:     the Anthropic SDK's HTTP client reads NO_PROXY itself. An entry with a scheme's default port never matches,
#           because that port is dropped from a URL; a bare host exempts its subdomains too.
# Versions: httpx2 2.16.2; Python 3.11.
# Expected: host:443 exempts https://host/, as it does in curl; a bare host exempts that host.
# Observed: api.example:443 for https://api.example/ goes through the proxy; api.example:8443 for
#           https://api.example:8443/ does not; example for https://api.example/ does not; 2026-11-29.
# Impact:   conversations and the key go through a proxy that was meant to be bypassed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check httpx2==2.16.2
"$folder/venv/bin/python" - <<'PY'
import os
import httpx2

def proxied(no_proxy: str, url: str) -> bool:
    os.environ.update(HTTPS_PROXY="http://proxy.example:3128", NO_PROXY=no_proxy)
    os.environ.pop("no_proxy", None)
    os.environ.pop("https_proxy", None)
    with httpx2.Client() as client:
        return client._transport_for_url(httpx2.URL(url)) is not client._transport

seen = {case: proxied(*case) for case in [
    ("", "https://api.example/"),
    ("api.example:443", "https://api.example/"),
    ("api.example:8443", "https://api.example:8443/"),
    ("https://api.example", "https://api.example/"),
    ("example", "https://api.example/"),
]}
for case, through in seen.items():
    print(*case, "through the proxy" if through else "direct")
assert list(seen.values()) == [True, True, False, False, False], seen
PY
