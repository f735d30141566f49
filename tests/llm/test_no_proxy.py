"""NO_PROXY in all its forms, beside what the SDK's own client makes of it."""

from __future__ import annotations

import httpx2
import pytest

from aar.llm.aiohttp_transport import proxy_from_environment

FORMS = [
    "10.0.0.0/8",
    "fd00::/8",
    "*.corp.example",
    ".corp.example",
    "corp.example",
    "::1",
    "[::1]",
    "10.1.2.3",
    "corp.example:8443",
    "corp.example:443",
    "10.1.2.3:8443",
    "[fd00::5]:8443",
    "https://corp.example",
    "http://corp.example",
    "all://*.corp.example",
    "https://10.0.0.0/8",
    "https://:8443",
    "*:8443",
    "localhost",
    "LOCALHOST, Corp.Example",
    "bad/entry, 10.0.0.0/33, corp.example:abc",
    "*",
]
ADDRESSES = [
    "https://corp.example/",
    "http://corp.example/",
    "https://api.corp.example/",
    "https://xcorp.example/",
    "https://corp.example:8443/",
    "https://10.1.2.3/",
    "https://10.1.2.3:8443/",
    "https://[::1]/",
    "https://[fd00::5]:8443/",
    "https://localhost:99/",
    "https://other/",
]


@pytest.mark.parametrize("entries", FORMS)
def test_no_proxy_is_read_as_the_sdk_reads_it(entries: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", entries)
    client = httpx2.AsyncClient(trust_env=True)
    for address in ADDRESSES:
        url = httpx2.URL(address)
        past = client._transport_for_url(url) is client._transport
        assert (proxy_from_environment(url.scheme, url.netloc.decode("ascii")) is None) == past, address
