"""Parses page forms, and accepts only those with the login's CSRF token."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse

from aar.auth.sessions import SESSION_COOKIE, Login
from aar.errors import Forbidden, Unauthorized, UsageError
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import Operator, current_login, human_name, require_form_writer
from aar.web.error_handlers import store_unsent_fields

_MOST_BYTES = 64 * 1024
_MOST_SIGNED_BYTES = 512 * 1024
"""Maximum size of a form from a known sender. A character takes up to twelve bytes: a post at its limit has 240 KB."""
_MOST_FIELDS = 200


@dataclass(frozen=True, slots=True)
class SignedForm:
    """A form that an operator sent from their own page.

    Args:
        fields: by name; empty fields are empty text.
    """

    who: Operator
    login: Login
    shared: AppState
    fields: dict[str, str]

    @property
    def by(self) -> str:
        """Returns the name for the record."""
        return human_name(self.who.name)

    def text(self, name: str) -> str:
        """Returns a stripped field; empty if it is absent."""
        return self.fields.get(name, "").strip()

    def lines(self, name: str) -> str:
        """Returns a multi-line field as typed, whitespace included.

        Browsers send its line ends as CR and LF.
        """
        return self.fields.get(name, "").replace("\r\n", "\n")

    def redirect(self, where: str, note: str = "") -> RedirectResponse:
        """Redirects to a page that shows the result of the form once."""
        if note:
            self.shared.sessions.note(self.login, note)
        return RedirectResponse(where, 303)


async def read_form(request: Request, most_bytes: int = _MOST_BYTES) -> dict[str, str]:
    """Reads the fields of a form. Raises UsageError if invalid or too large."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise UsageError("the request is not a form", "Use the page, or the API under /api/v1")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise UsageError(f"the form is over {most_bytes // 1024} KiB", "Write less")
    try:
        return dict(
            parse_qsl(body.decode("utf-8"), keep_blank_values=True, strict_parsing=False, max_num_fields=_MOST_FIELDS)
        )
    except ValueError as error:
        raise UsageError("the form cannot be read") from error


async def read_signed_form(request: Request, shared: AppStateDep) -> SignedForm:
    """Returns the form and its operator.

    If the form is refused, the error page shows its text.

    Raises:
        Unauthorized: the login has expired, or there was none.
        Forbidden: another login's form, or a viewer's.
        UsageError: the form is invalid or too large.
    """
    login = current_login(shared, request)
    if login is None:
        if SESSION_COOKIE in request.cookies:
            with suppress(UsageError):
                store_unsent_fields(request, await read_form(request, _MOST_SIGNED_BYTES))
        raise Unauthorized("you are not logged in", "Log in at /login with the operator's token")
    fields = await read_form(request, _MOST_SIGNED_BYTES)
    try:
        who = require_form_writer(shared, request, login, fields.pop("csrf", ""))
    except Forbidden:
        store_unsent_fields(request, fields)
        raise
    return SignedForm(who, login, shared, fields)


SignedFormDep = Annotated[SignedForm, Depends(read_signed_form)]
