"""Every page that links lead to is there, is valid HTML, and names each of its parts once."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import urldefrag, urljoin

import html5lib
import pytest

from aar.auth.tokens import operator_token, viewer_token
from aar.web.rate_limit import RateLimit, RateLimits

from .conftest import Site
from .person import Person

pytestmark = pytest.mark.anyio
PLENTY = RateLimit(10**6, 10**5)
LEADS = ("href", "src", "sse-connect")
POINTS = ("aria-labelledby", "aria-describedby", "for", "form", "data-of")


def _elements(html: str) -> list[Any]:
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    document = parser.parse(html)
    assert not parser.errors
    return [each for each in document.iter() if isinstance(each.tag, str)]


def _checked(address: str, html: str) -> list[str]:
    """Where a page leads; fails where it is no valid page."""
    elements = _elements(html)
    ids = Counter(each.get("id") for each in elements if each.get("id"))
    assert not [name for name, count in ids.items() if count > 1], address
    for name in POINTS:
        for named in " ".join(each.get(name) or "" for each in elements).split():
            assert named in ids, (address, name, named)
    # in the order of the page: no positive number may change it
    assert {each.get("tabindex") for each in elements} <= {None, "0", "-1"}, address
    found = [urljoin(address, each.get(name)) for each in elements for name in LEADS if each.get(name)]
    for where, part in map(urldefrag, found):
        assert not part or where != address or part in ids, (address, part)
    return [urldefrag(each).url for each in found if each.startswith("/")]


@pytest.mark.parametrize("who", ["", "operator", "viewer"])
async def test_every_link_of_every_page_leads_somewhere(site: Site, who: str) -> None:
    host = "0.0.0.0" if who == "viewer" else "127.0.0.1"
    seen, left = set[str](), ["/campaigns", "/login", "/launch"]
    async with site.client(host=host, rates=RateLimits(PLENTY, PLENTY, PLENTY, PLENTY)) as client:
        if who:
            await Person(client).log_in((operator_token if who == "operator" else viewer_token)(site.home))
        while left:
            address = left.pop()
            if address in seen or address.endswith("/live"):
                continue
            seen.add(address)
            answer = await client.get(address, headers={"Accept": "text/html"})
            assert answer.status_code < 400, address
            if answer.status_code == 200 and answer.headers["content-type"].startswith("text/html"):
                left += _checked(address, answer.text)
                refreshed = await client.get(address, headers={"HX-Request": "true"})
                assert (refreshed.status_code, "csrf" in refreshed.text) == (200, False), address
    assert len(seen) > 100
