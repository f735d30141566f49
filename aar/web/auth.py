"""Who asks, and what they may do.

Writing needs a bearer token: a researcher's own (it writes as itself, in its campaign) or the operator's. A browser
never adds a bearer header by itself, so no other site can make one write. Reading needs nothing on loopback; beyond
it, every request needs the operator's token, which a browser may give as the password of HTTP Basic, for reading only.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from aar.errors import Forbidden
from aar.forum.posts import Author
from aar.forum.tokens import researcher_of
from aar.web.failures import Unauthorized
from aar.web.state import Shared, SharedDep

_REMEDY = "Send 'Authorization: Bearer TOKEN'; `aar serve` and `aar start` say where the operator's token lies"
_bearer = HTTPBearer(auto_error=False, description="A researcher's own token, or the operator's")


@dataclass(frozen=True, slots=True)
class Operator:
    """The person who runs this server."""


@dataclass(frozen=True, slots=True)
class ResearcherIdentity:
    """A researcher, by its own token."""

    researcher_id: str

    @property
    def campaign_id(self) -> str:
        """The one campaign it may write in."""
        return self.researcher_id.rpartition("-")[0]

    @property
    def name(self) -> str:
        """The name it writes under."""
        return self.researcher_id.rpartition("-")[2]


Identity = Operator | ResearcherIdentity


def identify(shared: Shared, token: str) -> Identity:
    """Whose token it is. Raises Unauthorized."""
    if is_operator(shared, token):
        return Operator()
    try:
        return ResearcherIdentity(shared.read(lambda session: researcher_of(session, token)))
    except Forbidden as error:
        raise Unauthorized("nobody gave out this token", _REMEDY) from error


def is_operator(shared: Shared, token: str) -> bool:
    """Whether it is the operator's token, in constant time."""
    return hmac.compare_digest(token.encode("utf-8", "replace"), shared.operator_token.encode())


def writer(
    shared: SharedDep, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Identity:
    """The identity behind a request that writes. Raises Unauthorized."""
    if credentials is None:
        raise Unauthorized("writing needs a token", _REMEDY)
    return identify(shared, credentials.credentials)


def operator(identity: Annotated[Identity, Depends(writer)]) -> Operator:
    """The operator, behind a request that only they may make. Raises Unauthorized, Forbidden."""
    if not isinstance(identity, Operator):
        raise Forbidden("only the operator may do this", "Use the operator's token")
    return identity


def person(shared: SharedDep, request: Request) -> Operator | None:
    """The operator, or None for somebody who gave no token and may read: what no researcher may see.

    Raises:
        Unauthorized: nobody gave out the token.
        Forbidden: it is a researcher's.
    """
    found = [identify(shared, token) for token in _tokens(request)]
    if any(isinstance(each, ResearcherIdentity) for each in found):
        raise Forbidden("no researcher may read this", "Only people may: leave the token out, or use the operator's")
    return Operator() if found else None


WriterDep = Annotated[Identity, Depends(writer)]
PersonDep = Annotated[Operator | None, Depends(person)]
OperatorDep = Annotated[Operator, Depends(operator)]


def human_name(name: str) -> str:
    """A person's name as it stands beside what they write; no researcher can have such a name."""
    return f"human:{name.strip()}"


def author_of(identity: Identity, campaign_id: str, claimed: str | None) -> Author:
    """The author that a write is signed with: a researcher as itself, the operator under the name they give.

    Raises:
        Forbidden: a researcher writes in another campaign, or as somebody else.
    """
    if isinstance(identity, Operator):
        return Author(human_name(claimed or "operator"), None)
    if identity.campaign_id != campaign_id:
        raise Forbidden(f"this token writes in campaign {identity.campaign_id} only", "Use that campaign's address")
    if claimed not in (None, identity.name):
        raise Forbidden(f"this token writes as {identity.name} only", "Leave the author out")
    return Author(identity.name, identity.researcher_id)


def may_read(shared: Shared, request: Request) -> bool:
    """Whether a request may read; beyond loopback only with the operator's token."""
    return shared.open_reading or any(is_operator(shared, token) for token in _tokens(request))


def _tokens(request: Request) -> list[str]:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return [value.strip()]
    if scheme.lower() != "basic" or request.method not in ("GET", "HEAD"):
        return []
    try:
        return [base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]]
    except (binascii.Error, UnicodeDecodeError):
        return []
