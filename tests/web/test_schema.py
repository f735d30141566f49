"""Whatever is sent to any endpoint of the description, the server does not break."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode

from aar.auth.tokens import operator_token

from .conftest import Site

KNOWN = {"campaign_id": "k3v9qd", "name": "r1", "post_id": 1, "number": 14, "comment_id": 1, "claim_id": 1} | {
    "digest": "0123456789ab"
}


@pytest.mark.parametrize(
    ("mode", "known"),
    [(GenerationMode.POSITIVE, True), (GenerationMode.NEGATIVE, True), (GenerationMode.POSITIVE, False)],
    ids=["valid", "invalid", "unknown ids"],
)
def test_no_request_breaks_the_server(
    site: Site, mode: GenerationMode, known: bool, pytestconfig: pytest.Config
) -> None:
    examples = 5 if pytestconfig.getoption("--all") else 2
    headers = {"Host": "127.0.0.1", "Authorization": f"Bearer {operator_token(site.home)}"}
    described = schemathesis.openapi.from_asgi("/api/v1/openapi.json", site.app(), headers=headers)
    tried = 0
    # A valid launch starts a campaign of its own; test_launch does that once.
    described = described.exclude(path_regex="/stream$").exclude(method="POST", path="/api/v1/campaigns")
    for found in described.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def ask(case: Any) -> None:
            if known:
                case.path_parameters = {name: KNOWN[name] for name in case.path_parameters or {}}
            case.headers = {**(case.headers or {}), **headers}
            case.call_and_validate(checks=[not_a_server_error])

        try:
            ask()
        except Unsatisfiable:
            # An operation that takes any text has no invalid request.
            assert mode is GenerationMode.NEGATIVE
            continue
        tried += 1
    assert tried >= (16 if mode is GenerationMode.POSITIVE else 10)
