"""Model endpoints: Anthropic, compatible servers, Amazon Bedrock, Google Vertex AI.

Keys come from the environment or from a file, never from a spec: ``ANTHROPIC_API_KEY`` for the first two, the usual
AWS variables, profile or role for Bedrock, Google's application default credentials for Vertex.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from aar.errors import SetupError, UsageError

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

Provider = Literal["anthropic", "bedrock", "vertex"]
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NO_KEY = "none"
_CONNECT_SECONDS = 10.0
_VERTEX_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True, slots=True)
class ModelEndpoint:
    """The address and credentials of a provider.

    Args:
        provider: of the protocol and the credentials.
        base_url: another address than the provider's own.
        api_key: for ``anthropic``; the others find theirs in the environment.
        region: of Bedrock or Vertex; None takes the environment's.
    """

    provider: Provider = "anthropic"
    base_url: str | None = None
    api_key: SecretStr | None = None
    region: str | None = None

    @property
    def accepts_raw_body(self) -> bool:
        """Return whether an encoded body is sent as it is.

        The other providers' clients move model and version.
        """
        return self.provider == "anthropic"

    @property
    def display_url(self) -> str:
        """Return its name for messages to people, without a login."""
        if self.base_url and "@" in (parts := urlsplit(self.base_url)).netloc:
            return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return self.base_url or {"anthropic": "api.anthropic.com"}.get(self.provider, self.provider)

    def redact_key(self, text: str) -> str:
        """Return the text with the key redacted."""
        return text.replace(self.api_key.get_secret_value(), "[key]") if self.api_key else text


def open_client(service: ModelEndpoint, timeout: float) -> AsyncAnthropic:
    """Open the SDK's client for a service, without retries of its own.

    It may read files and ask the machine's metadata service for credentials: call it off the loop.

    Args:
        timeout: longest silence on an open stream, in seconds.

    Raises:
        SetupError: the provider's extra is not installed.
        UsageError: the provider's credentials or region cannot be found.
    """
    import anthropic

    from aar.llm.aiohttp_transport import AiohttpClient

    # Proxies of the environment are for the outside; a loopback server is reached directly.
    direct = urlsplit(service.base_url or "").hostname in _LOOPBACK
    bounds = anthropic.Timeout(timeout, connect=_CONNECT_SECONDS)
    # No redirects: one could send the key and the conversation anywhere.
    try:
        http = AiohttpClient(trust_env=not direct, timeout=bounds, follow_redirects=False)
    except ValueError as error:
        raise UsageError(f"invalid proxy: {error}", "Set HTTPS_PROXY to an http or https proxy") from error
    if service.base_url or service.provider == "anthropic":
        http.check_proxy(service.base_url or "https://api.anthropic.com")
    shared: dict[str, Any] = {
        "base_url": service.base_url,
        "max_retries": 0,
        "timeout": bounds,
        "http_client": http,
    }
    if service.provider == "anthropic":
        key = service.api_key.get_secret_value() if service.api_key else _NO_KEY
        return anthropic.AsyncAnthropic(api_key=key, **shared)
    try:
        return _open_cloud(service, shared)
    except ImportError as error:
        raise SetupError(
            f"provider {service.provider} needs a library that is not installed ({error.name or error})",
            f"pip install 'aar[{service.provider}]'",
        ) from error
    except ValueError as error:
        raise UsageError(f"provider {service.provider}: {error}", "Set its region and credentials") from error


def _open_cloud(service: ModelEndpoint, shared: dict[str, Any]) -> AsyncAnthropic:
    import anthropic

    opened: Any
    if service.provider == "bedrock":
        importlib.import_module("botocore.eventstream")
        opened = anthropic.AsyncAnthropicBedrock(aws_region=service.region, **shared)
    else:
        opened = anthropic.AsyncAnthropicVertex(**_vertex_options(service), **shared)
    client: AsyncAnthropic = opened
    return client


def _vertex_options(service: ModelEndpoint) -> dict[str, Any]:
    # The SDK finds the credentials at the first call, after it needed the project that they name.
    google = importlib.import_module("google.auth")
    try:
        credentials, project = google.default(scopes=[_VERTEX_SCOPE])
    except google.exceptions.DefaultCredentialsError as error:
        raise ValueError(str(error)) from error
    named = os.environ.get("ANTHROPIC_VERTEX_PROJECT_ID") or project
    if not named:
        raise ValueError("no project is named: set ANTHROPIC_VERTEX_PROJECT_ID")
    region = {} if service.region is None else {"region": service.region}
    return {"credentials": credentials, "project_id": named, **region}
