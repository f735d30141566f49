"""What counts as a secret, and what does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.auth.tokens import new_token
from aar.events import ToolFinished
from aar.readmodels.secret_scrubber import REMOVED_MARK, Scrubber, make_scrubber
from aar.readmodels.transcript import read_transcript
from aar.settings import Settings
from aar.store.event_log import append_event
from aar.testing.example_campaign import SECRET

from ..report.conftest import Archive

_WORDS = st.text(st.sampled_from("abcdefghij ,.:;()[]{}=+*/\n\"'0123456789"), max_size=200)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(_JSON)
def test_ordinary_json_comes_out_as_it_went_in(value: Any) -> None:
    assert Scrubber(["hush-hush-hush"]).value(value) == value


@given(before=_WORDS, after=_WORDS, depth=st.integers(0, 4))
def test_a_known_secret_is_found_wherever_it_stands(before: str, after: str, depth: int) -> None:
    value: Any = f"{before}hush-hush-hush{after}"
    for _ in range(depth):
        value = {"inner": [value], value if isinstance(value, str) else "key": 1}
    said = json.dumps(Scrubber(["hush-hush-hush"]).value(value))
    assert "hush-hush-hush" not in said
    assert REMOVED_MARK in said


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-AbCdEfGh_-123456",
        "sk-proj-abcdefgh1jklmnopqrstuv",
        "AKIAABCDEFGHIJKLMNOP",
        "AIza" + "b" * 35,
        "ghs_" + "c" * 36,
        "hf_" + "d" * 34,
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nabc, cut off",
        "token of a researcher",
    ],
)
def test_what_looks_like_a_secret_is_taken_for_one(secret: str) -> None:
    if secret == "token of a researcher":
        secret = new_token()  # not a parameter: workers must agree on the names of the tests
    assert Scrubber().text(f"export X={secret}") == f"export X={REMOVED_MARK}"


@pytest.mark.parametrize(
    "text",
    [
        "0123456789abcdef" * 4,
        "toolu_01AbCdEfGhIjKlMnOpQrStUv",
        "task-specific-learning-rate-schedules",
        "sk-learn-based-classifier-ensembles",
        "the bearer of news",
        "aar_start",
        "risk-ant",
    ],
)
def test_what_does_not_is_left(text: str) -> None:
    assert Scrubber(["short", ""]).text(text) == text


def test_the_machines_and_the_campaigns_secrets_are_known(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "value-of-some-key")
    monkeypatch.setenv("KEYBOARD", "a perfectly public value")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-from-the-settings")
    (tmp_path / "operator-token").write_text("the-operators-token\n")
    settings = Settings(home=tmp_path, database="postgresql+psycopg://me:password-of-db@h/aar")
    with archive.db.reading() as session:
        found = make_scrubber(session, "k3v9qd", settings)
    text = (
        f"value-of-some-key the-operators-token password-of-db key-from-the-settings {SECRET} a perfectly public value"
    )
    assert found.text(text) == " ".join([REMOVED_MARK] * 5) + " a perfectly public value"


def test_pages_and_the_api_read_transcripts_without_secrets(archive: Archive) -> None:
    token = new_token()
    content = [{"type": "text", "text": f"AAR_TOKEN={token}"}]
    happened = ToolFinished(tool_use_id="x", tool="bash", content=content, is_error=False, seconds=0.1)
    with archive.db.writing() as session:
        append_event(session, "k3v9qd", happened, "k3v9qd-r4")
    with archive.db.reading() as session:
        last = read_transcript(session, "k3v9qd-r4").items[-1]
    assert last.blocks[0].text == f"AAR_TOKEN={REMOVED_MARK}"
