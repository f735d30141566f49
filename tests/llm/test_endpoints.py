"""The same call at Bedrock and at Vertex: their addresses, credentials and framing, and the same turn in the end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from aar.errors import SetupError, UsageError
from aar.llm.endpoints import ModelEndpoint, open_client
from aar.llm.gateway import Gateway
from aar.llm.request import ModelRequest

from ..messages_server import Turn, call, say
from .cloud_server import serving

pytestmark = pytest.mark.anyio

CONTENT = [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, say("hé"), call(1, "bash", command="ls")]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def request(model: str) -> ModelRequest:
    messages = [{"role": "user", "content": [say("go")]}]
    return ModelRequest(model, [say("s")], [], messages, 100, betas=("context-management-2025-06-27",))


async def test_bedrock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-real-secret")
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    async with serving(Turn(CONTENT)) as server:
        gateway = Gateway(ModelEndpoint("bedrock", base_url=server.url, region="eu-west-1"))
        message = await gateway.complete(request("anthropic.claude-sonnet-5-5-v1:0"))
        await gateway.close()
    assert message.content == CONTENT
    path, headers, sent = server.asked[0]
    assert path == "/model/anthropic.claude-sonnet-5-5-v1:0/invoke-with-response-stream"
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "not-a-real-secret" not in json.dumps([headers, sent])
    assert sent["messages"][0]["content"][0]["text"] == "go"
    assert "model" not in sent


async def test_vertex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    async with serving(Turn(CONTENT)) as server:
        account = {
            "type": "service_account",
            "project_id": "p1",
            "private_key_id": "k",
            "private_key": key.decode(),
            "client_email": "aar@p1.iam.gserviceaccount.com",
            "token_uri": f"{server.url}/token",
        }
        credentials = tmp_path / "account.json"
        credentials.write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
        monkeypatch.delenv("ANTHROPIC_VERTEX_PROJECT_ID", raising=False)
        gateway = Gateway(ModelEndpoint("vertex", base_url=server.url, region="us-east5"))
        message = await gateway.complete(request("claude-sonnet-5-5@20260901"))
        await gateway.close()
    assert message.content == CONTENT
    path, headers, sent = server.asked[0]
    assert path == (
        "/projects/p1/locations/us-east5/publishers/anthropic/models/claude-sonnet-5-5@20260901:streamRawPredict"
    )
    assert headers["authorization"] == "Bearer ya29.test"
    assert sent["anthropic_version"]
    assert sent["stream"] is True


@pytest.mark.parametrize(("provider", "library"), [("bedrock", "botocore.eventstream"), ("vertex", "google.auth")])
def test_without_the_extra_the_error_names_it(provider: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SetupError) as caught:
        open_client(ModelEndpoint(provider, region="eu-west-1"), 5.0)  # type: ignore[arg-type]
    assert caught.value.remedy == f"pip install 'aar[{provider}]'"


def test_bedrock_without_a_region_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="region"):
        open_client(ModelEndpoint("bedrock"), 5.0)


def test_a_login_in_an_address_is_not_shown() -> None:
    assert (
        ModelEndpoint(base_url="https://ana:secret@models.example:8443/v1").display_url
        == "https://models.example:8443/v1"
    )
    assert ModelEndpoint(base_url="https://models.example/v1/@team").display_url == "https://models.example/v1/@team"
