"""Forms of the pages: read, and taken only from a page that the same login opened."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse

from aar.auth.sessions import SESSION_COOKIE, Login
from aar.errors import Forbidden, UsageError
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import Operator, current_login, human_name, require_form_writer
from aar.web.error_handlers import Unauthorized, store_unsent_fields

_MOST_BYTES = 64 * 1024
_MOST_SIGNED_BYTES = 512 * 1024
"""Of a form whose sender is known. A character takes up to twelve bytes in one: a post at its limit has 240 KB."""
_MOST_FIELDS = 200


@dataclass(frozen=True, slots=True)
class SignedForm:
    """A form that an operator sent from their own page.

    Args:
        fields: by name; empty ones are there as empty text.
    """

    who: Operator
    login: Login
    shared: AppState
    fields: dict[str, str]

    @property
    def by(self) -> str:
        """The name on the record."""
        return human_name(self.who.name)

    def text(self, name: str) -> str:
        """A field without space around it; empty where it is absent."""
        return self.fields.get(name, "").strip()

    def lines(self, name: str) -> str:
        """A field of several lines as it was typed, space and all; browsers send its line ends as CR and LF."""
        return self.fields.get(name, "").replace("\r\n", "\n")

    def redirect(self, where: str, said: str = "") -> RedirectResponse:
        """To a page, with a line on top of it that says what became of the form."""
        if said:
            self.shared.sessions.note(self.login, said)
        return RedirectResponse(where, 303)


async def read_form(request: Request, most_bytes: int = _MOST_BYTES) -> dict[str, str]:
    """The fields of a form. Raises UsageError for what is none, or is too large."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise UsageError("this is not a form", "Use the page, or the API under /api/v1")
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
    """The form and the operator behind it; of one that is refused, the page that says so shows the words.

    Raises:
        Unauthorized: the login is over, or there was none.
        Forbidden: another login's form, or a viewer's.
        UsageError: no form, or too large a one.
    """
    login = current_login(shared, request)
    if login is None:
        if SESSION_COOKIE in request.cookies:
            with suppress(UsageError):
                store_unsent_fields(request, await read_form(request, _MOST_SIGNED_BYTES))
        raise Unauthorized("nobody is logged in here", "Log in at /login with the operator's token")
    fields = await read_form(request, _MOST_SIGNED_BYTES)
    try:
        who = require_form_writer(shared, request, login, fields.pop("csrf", ""))
    except Forbidden:
        store_unsent_fields(request, fields)
        raise
    return SignedForm(who, login, shared, fields)


SignedFormDep = Annotated[SignedForm, Depends(read_signed_form)]
