"""Who asks, and what they may do.

Three roles: a viewer reads, an operator reads and acts, a researcher writes as itself in its own campaign. Programs
prove who they are with a bearer token, which no browser adds by itself. People log in on a page; their cookie goes
to this site only, and it acts only together with a token that stands in this site's own forms. Reading needs nothing
on loopback; beyond it, every request needs a login or a token. HTTP Basic (the token as the password) only ever reads.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from typing import Annotated

import anyio.to_thread
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import Scope

from aar.errors import Forbidden
from aar.forum.posts import Author
from aar.forum.tokens import researcher_of
from aar.web.failures import Unauthorized
from aar.web.sessions import COOKIE, Login, Role
from aar.web.state import Shared, SharedDep

_REMEDY = "Send 'Authorization: Bearer TOKEN'; `aar serve` and `aar start` say where the operator's token lies"
_bearer = HTTPBearer(
    auto_error=False, description="A researcher's own token, or the operator's; the viewer's only reads"
)


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who may act; ``name`` as given at the login, else plain ``operator``."""

    name: str = "operator"


@dataclass(frozen=True, slots=True)
class Viewer:
    """A person who may read."""

    name: str = "viewer"


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
CSRF_HEADER = "x-csrf-token"
_WHO = "aar.who"


def identify(shared: Shared, token: str) -> Identity | Viewer:
    """Whose token it is. Raises Unauthorized."""
    role = role_of(shared, token)
    if role is not None:
        return Operator() if role == "operator" else Viewer()
    try:
        return ResearcherIdentity(shared.read(lambda session: researcher_of(session, token)))
    except Forbidden as error:
        raise Unauthorized("nobody gave out this token", _REMEDY) from error


async def _identified(shared: Shared, token: str) -> Identity | Viewer:
    """``identify`` in the event loop: only a researcher's token needs the database, and so a thread."""
    if role_of(shared, token) is not None:
        return identify(shared, token)
    return await anyio.to_thread.run_sync(identify, shared, token)


def role_of(shared: Shared, token: str) -> Role | None:
    """Whether it is the operator's token or the viewer's, in constant time; None for neither."""
    given = token.encode("utf-8", "replace")
    operator = hmac.compare_digest(given, shared.operator_token.encode())
    viewer = hmac.compare_digest(given, shared.viewer_token.encode())
    return "operator" if operator else "viewer" if viewer else None


def login_of(shared: Shared, request: Request) -> Login | None:
    """Who logged in at the browser that asks; None for nobody."""
    return shared.sessions.find(request.cookies.get(COOKIE, ""))


async def writer(
    shared: SharedDep,
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Identity:
    """The identity behind a request that writes. Raises Unauthorized, Forbidden."""
    if credentials is not None:
        return note_who(request, await _identified(shared, credentials.credentials))
    login = login_of(shared, request)
    if login is None:
        raise Unauthorized("writing needs a token", _REMEDY)
    return form_writer(shared, request, login, request.headers.get(CSRF_HEADER, ""))


def form_writer(shared: Shared, request: Request, login: Login, csrf: str) -> Operator:
    """The operator behind a form, or a page's script, that carries its login's token. Raises Forbidden."""
    if not shared.sessions.is_csrf(login, csrf):
        raise Forbidden("this form is not of a page that this login opened", "Open the page again and repeat")
    identity = note_who(request, Operator(login.name) if login.is_operator else Viewer(login.name))
    assert isinstance(identity, Operator)
    return identity


def note_who(request: Request, identity: Identity | Viewer) -> Identity:
    """Remember for the audit log who it is. Raises Forbidden for a viewer, who only reads."""
    who = identity.researcher_id if isinstance(identity, ResearcherIdentity) else identity.name
    request.scope[_WHO] = f"{type(identity).__name__.removesuffix('Identity').lower()} {who}"
    if isinstance(identity, Viewer):
        raise Forbidden("a viewer only reads", "Log in with the operator's token, or send it")
    return identity


def who_asked(scope: Scope) -> str:
    """Who made a request that writes, for the audit log; empty where nobody known did."""
    return str(scope.get(_WHO, ""))


async def operator(identity: Annotated[Identity, Depends(writer)]) -> Operator:
    """The operator, behind a request that only they may make. Raises Unauthorized, Forbidden."""
    if not isinstance(identity, Operator):
        raise Forbidden("only the operator may do this", "Use the operator's token")
    return identity


def person(shared: SharedDep, request: Request) -> Operator | None:
    """The operator, or None for anybody else who is no researcher and may read: what no researcher may see.

    Raises:
        Unauthorized: nobody gave out the token.
        Forbidden: it is a researcher's.
    """
    found = [identify(shared, token) for token in _tokens(request)]
    if any(isinstance(each, ResearcherIdentity) for each in found):
        raise Forbidden("no researcher may read this", "Only people may: leave the token out, or use the operator's")
    login = login_of(shared, request)
    return Operator() if Operator() in found or (login is not None and login.is_operator) else None


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
        return Author(human_name(claimed or identity.name), None)
    if identity.campaign_id != campaign_id:
        raise Forbidden(f"this token writes in campaign {identity.campaign_id} only", "Use that campaign's address")
    if claimed not in (None, identity.name):
        raise Forbidden(f"this token writes as {identity.name} only", "Leave the author out")
    return Author(identity.name, identity.researcher_id)


def may_read(shared: Shared, request: Request) -> bool:
    """Whether a request may read; beyond loopback only with a login, or the operator's or the viewer's token."""
    if shared.open_reading or login_of(shared, request) is not None:
        return True
    return any(role_of(shared, token) is not None for token in _tokens(request))


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
