"""Access tokens: one hashed token per researcher, and the operator's and viewer's tokens."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.concurrency import suppress_and_log
from aar.errors import Forbidden, NotFound, SetupError
from aar.forum.authors import EXTERNAL_MODEL
from aar.store.models import Researcher

_OPERATOR_FILE = "operator-token"
_VIEWER_FILE = "viewer-token"


def new_token() -> str:
    """Generates a secret of 256 bits."""
    return "aar_" + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Returns the SHA-256 of a token, which is stored instead of it.

    A secret of 256 bits needs no salt.
    """
    return hashlib.sha256(token.encode("utf-8", "backslashreplace")).hexdigest()


def issue_token(session: Session, researcher_id: str) -> str:
    """Gives a researcher a new token and revokes its old one.

    The token itself is never stored. Raises NotFound.
    """
    researcher = session.get(Researcher, researcher_id)
    if researcher is None:
        raise NotFound(f"no researcher {researcher_id!r}", "See `aar status` for their names")
    token = new_token()
    researcher.token_hash = hash_token(token)
    return token


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """The researcher of a token; it may be an external one."""

    researcher_id: str
    outside: bool


def find_token_holder(session: Session, token: str) -> TokenHolder:
    """Returns the researcher of a token. Raises Forbidden."""
    token_hash = hash_token(token)
    query = select(Researcher.id, Researcher.token_hash, Researcher.model).where(Researcher.token_hash == token_hash)
    for row in session.execute(query):
        if hmac.compare_digest(row.token_hash, token_hash):
            return TokenHolder(str(row.id), row.model == EXTERNAL_MODEL)
    raise Forbidden("unknown token", "Use the researcher's current token")


def find_researcher_id(session: Session, token: str) -> str:
    """Returns the id of a token's researcher. Raises Forbidden."""
    return find_token_holder(session, token).researcher_id


def operator_token(home: Path) -> str:
    """Returns the operator's token of ``home``.

    The first call creates it, in a file that only its owner can read.

    Raises:
        SetupError: the file cannot be made or read, or others may read it.
    """
    return _stored_token(home / _OPERATOR_FILE, "operator")


def viewer_token(home: Path) -> str:
    """Returns the viewer's token of ``home``, which reads and changes nothing.

    It is created and stored like the operator's.

    Raises:
        SetupError: as for ``operator_token``.
    """
    return _stored_token(home / _VIEWER_FILE, "viewer")


def is_operator_token(home: Path, token: str) -> bool:
    """Returns True for the operator's token. Raises SetupError like ``operator_token``."""
    return hmac.compare_digest(hash_token(operator_token(home)), hash_token(token))


def _stored_token(path: Path, whose: str) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        return _read(path)
    except OSError as error:
        raise SetupError(
            f"cannot keep the {whose}'s token in {path}: {error.strerror or error}",
            "Set AAR_HOME to a folder of your own",
        ) from error


def _create(path: Path) -> None:
    """Writes the file completely; of several processes at once the first wins."""
    descriptor, draft = tempfile.mkstemp(prefix=".token-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(new_token() + "\n")
        path.hardlink_to(draft)
    except FileExistsError:
        pass  # another process was first; its token is used
    finally:
        with suppress_and_log("a draft of a token could not be removed"):
            Path(draft).unlink()


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor) as file:
        status = os.fstat(descriptor)
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid != os.geteuid():
            raise SetupError(f"others may read {path}", f"Delete it, or run: chmod 600 {path}")
        token = file.read().strip()
    if not token:
        raise SetupError(f"{path} is empty", "Delete it; a new one is made")
    return token
