"""Error responses: problem details (RFC 9457) for ``/api`` and ``/mcp``, pages elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from aar.errors import (
    AarError,
    Conflict,
    Forbidden,
    LimitReached,
    NotFound,
    SetupError,
    TooMany,
    Unauthorized,
    UsageError,
)
from aar.web.authentication import is_refresh
from aar.web.rendering import render_page

_log = logging.getLogger(__name__)
_FOR_PROGRAMS = ("/api/", "/mcp")
LOGIN_PATH = "/login"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="aar: the password is the viewer token", charset="UTF-8"'}
_QUIETLY = {"WWW-Authenticate": 'Bearer realm="aar"'}
"""For an open page whose login ended: a browser would prompt for a password in the middle of reading."""
_WORDS = ("title", "body", "words", "reason")
"""Fields that may contain long text."""
_STATUS: tuple[tuple[type[AarError], HTTPStatus], ...] = (
    (Unauthorized, HTTPStatus.UNAUTHORIZED),
    (NotFound, HTTPStatus.NOT_FOUND),
    (UsageError, HTTPStatus.BAD_REQUEST),
    (Conflict, HTTPStatus.CONFLICT),
    (LimitReached, HTTPStatus.CONFLICT),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (SetupError, HTTPStatus.SERVICE_UNAVAILABLE),
    (TooMany, HTTPStatus.TOO_MANY_REQUESTS),
)


class FieldProblem(BaseModel):
    """An invalid field of a request."""

    where: str
    message: str


class ProblemDetails(BaseModel):
    """The details of an error, by RFC 9457."""

    type: str = Field(examples=["urn:aar:error:NotFound"])
    title: str
    status: int
    detail: str
    remedy: str = ""
    errors: list[FieldProblem] = []


DOCUMENTED_ERRORS = {
    code: {"model": ProblemDetails, "description": HTTPStatus(code).phrase, "content": {"application/problem+json": {}}}
    for code in (400, 401, 403, 404, 409, 422, 429)
}
"""Error responses in the OpenAPI description of every endpoint."""


def status_of(error: AarError) -> HTTPStatus:
    """Returns the HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def retry_after(error: AarError) -> dict[str, str] | None:
    """Returns the Retry-After header of an error that has one."""
    return {"Retry-After": str(error.seconds)} if isinstance(error, TooMany) else None


def error_response(request: Request, error: AarError, headers: dict[str, str] | None = None) -> Response:
    """Returns the response for an error that was raised on purpose."""
    status = status_of(error)
    details = ProblemDetails(
        type=f"urn:aar:error:{type(error).__name__}",
        title=status.phrase,
        status=status,
        detail=error.message,
        remedy=error.remedy,
    )
    return _respond(request, details, headers)


def refusal_response(request: Request, refusal: AarError) -> Response:
    """Returns the response to a refused request.

    An unknown person in a browser is redirected to the login.
    """
    if not isinstance(refusal, Unauthorized):
        return error_response(request, refusal, retry_after(refusal))
    reads, scripted = request.method in ("GET", "HEAD"), _is_scripted(request)
    wants_page = reads and not scripted and "text/html" in request.headers.get("accept", "")
    if wants_page and "authorization" not in request.headers:
        where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{LOGIN_PATH}?next={quote(where)}", HTTPStatus.SEE_OTHER)
    return error_response(request, refusal, _QUIETLY if scripted or not reads else _CHALLENGE)


def _is_scripted(request: Request) -> bool:
    """Returns True if a script of an open page sends the request."""
    return is_refresh(request) or "text/event-stream" in request.headers.get("accept", "")


def on_aar_error(request: Request, error: Exception) -> Response:
    """Handles an error that was raised on purpose."""
    assert isinstance(error, AarError)
    return refusal_response(request, error)


def on_http_error(request: Request, error: Exception) -> Response:
    """Handles an error of the framework, such as an unknown path."""
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    detail = f"nothing at {request.url.path}" if error.status_code == HTTPStatus.NOT_FOUND else str(error.detail)
    details = ProblemDetails(type="about:blank", title=title, status=error.status_code, detail=detail)
    return _respond(request, details, dict(error.headers or {}))


def on_invalid_request(request: Request, error: Exception) -> Response:
    """Handles a request with invalid fields."""
    assert isinstance(error, RequestValidationError)
    problems = [
        FieldProblem(where=".".join(str(step) for step in each["loc"]), message=each["msg"]) for each in error.errors()
    ]
    details = ProblemDetails(
        type="about:blank",
        title="Invalid request",
        status=HTTPStatus.UNPROCESSABLE_ENTITY,
        detail="invalid request",
        errors=problems,
    )
    return _respond(request, details)


def on_bug(request: Request, error: Exception) -> Response:
    """Handles any other error: logs it and tells the client nothing of it."""
    _log.error("request %s %s failed", request.method, request.url.path, exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    details = ProblemDetails(type="about:blank", title=status.phrase, status=status, detail="see the server's log")
    return _respond(request, details)


EXCEPTION_HANDLERS: dict[int | type[Exception], Any] = {
    AarError: on_aar_error,
    HTTPException: on_http_error,
    RequestValidationError: on_invalid_request,
}
"""Handlers of the expected errors; ``on_bug`` handles any other."""


def store_unsent_fields(request: Request, fields: Mapping[str, str]) -> None:
    """Stores a refused form's text for its error page.

    A login that expired then loses no text.
    """
    request.state.unsent = {name: words for name, words in fields.items() if name in _WORDS and words.strip()}


def _respond(request: Request, details: ProblemDetails, headers: dict[str, str] | None = None) -> Response:
    if request.url.path.startswith(_FOR_PROGRAMS):
        body = details.model_dump(mode="json")
        return JSONResponse(body, details.status, headers, media_type="application/problem+json")
    context = {"failure": details, "unsent": getattr(request.state, "unsent", {})}
    return render_page("failure.html", context, status=details.status, headers=headers)
