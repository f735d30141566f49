"""Every error that `aar` raises on purpose.

::

    AarError                     one line a person can act on, and a remedy
    ├── UsageError               the input is wrong; nothing was started or spent
    │   ├── SpecError            a campaign spec is invalid
    │   ├── SeedFileError        a file of directions is invalid
    │   └── NotFound             no campaign, post, submission, problem ... of that name
    ├── SetupError               this machine lacks something that a campaign needs
    │   ├── SandboxUnavailable   no sandbox backend works here
    │   │   └── BackendAway      the backend does not answer now; callers wait for it
    │   ├── DatabaseError        the database is locked, newer than this program, or unreachable
    │   ├── DiskFull             a disk or a quota has no room
    │   ├── PortTaken            the address to serve on is in use
    │   └── DataMissing          a problem's data is absent or damaged
    ├── Conflict                 the current state does not allow the request (two controllers, for example)
    ├── Unauthorized             a request without a token or login, or with an unknown one
    ├── Forbidden                the token does not allow the request
    ├── SandboxError             a sandbox operation failed
    │   ├── SandboxGone          the sandbox is gone; the command's result is unknown
    │   ├── StillInUse           the remains of a former sandbox are still in use; callers wait for them
    │   └── TransferRefused      a path or archive tried to leave its place, or was too large
    ├── LimitReached             a limit of the ledger cannot be met; names it, and the excess
    ├── TooMany                  a client sends too many requests; has the bound and a retry time
    ├── GatewayError             a model call failed for good
    │   ├── KeyRefused           the API key was refused
    │   └── ModelUnavailable     the service answered with an error after all retries
    ├── ProblemError             a problem plug-in broke its contract
    │   └── PluginFailed         a call of a problem's own code failed: raised, hung, died, or an invalid result
    └── BoundExceeded            a call on untrusted input took too long, too much memory, or ended its process

"The command failed" is not an error: it is an ``ExecResult`` with its exit reason.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
DISK_FULL_REMEDY = "Free some space, then run `aar resume`"
_LEAST_BYTES = 1 << 20
_TRANSIENT_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS})


class AarError(Exception):
    """Base of all errors that `aar` raises on purpose.

    Args:
        message: one line that names the problem.
        remedy: one line with the remedy in the imperative; empty where there is none.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class UsageError(AarError):
    """Invalid input. Nothing was started or spent."""

    exit_code = 2


class SpecError(UsageError):
    """An invalid campaign spec."""


class SeedFileError(UsageError):
    """An invalid file of directions."""


class NotFound(UsageError):
    """A name that does not exist."""


class SetupError(AarError):
    """A machine that lacks a requirement of a campaign."""

    exit_code = 3


class SandboxUnavailable(SetupError):
    """A machine without a working sandbox backend."""


class BackendAway(SandboxUnavailable):
    """A sandbox backend that does not answer now, such as a restarting engine.

    Callers wait for it.
    """


class DatabaseError(SetupError):
    """A database that is locked, newer than this program, or unreachable."""


class DiskFull(SetupError):
    """A full disk or an exhausted quota."""


class PortTaken(SetupError):
    """An address to serve on that is in use."""


class DataMissing(SetupError):
    """Absent or damaged data of a problem."""


class Conflict(AarError):
    """A request that the current state does not allow."""


class Unauthorized(AarError):
    """A request without a token, or with an unknown one."""


class Forbidden(AarError):
    """A request that the token does not allow."""


class SandboxError(AarError):
    """A failed sandbox operation."""


class SandboxGone(SandboxError):
    """A sandbox that is gone. The result of its commands is unknown."""


class StillInUse(SandboxError):
    """Remains of a former sandbox that are still in use, such as a mounted workspace.

    Callers wait for their release.
    """


class TransferRefused(SandboxError):
    """A path or archive that leaves its place, or is too large."""


class GatewayError(AarError):
    """A model call that failed permanently."""


class KeyRefused(GatewayError):
    """A rejected API key."""


class ModelUnavailable(GatewayError):
    """An error of the service that persists after all retries."""


class ProblemError(AarError):
    """A problem plug-in that broke its contract."""


class PluginFailed(ProblemError):
    """A call of a problem's own code that failed.

    It raised, hung, ended its process or returned an invalid result.

    Args:
        message: the event, the call and the place in the code; it quotes no data of the problem.
        detail: the code's own message, which may quote hidden data: for the problem's author alone.
        cause: ``raised``, ``answer``, ``time``, ``memory`` or ``died``.
    """

    def __init__(self, message: str, remedy: str = "", detail: str = "", cause: str = "raised") -> None:
        super().__init__(message, remedy)
        self.detail = detail
        self.cause = cause

    def __reduce__(self) -> tuple[type[PluginFailed], tuple[str, str, str, str]]:
        return PluginFailed, (self.message, self.remedy, self.detail, self.cause)


class BoundExceeded(AarError):
    """A call in a worker process that exceeded its limits.

    Args:
        cause: ``time``, ``memory``, or ``died`` where its process ended.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause

    def __reduce__(self) -> tuple[type[BoundExceeded], tuple[str, str]]:
        return BoundExceeded, (self.cause, self.message)


@dataclass(frozen=True, slots=True)
class LimitBreach:
    """A limit that could not be met, and the excess.

    Args:
        scope: "campaign" or a researcher's id.
        limit: the limit's name as in the spec, such as "usd" or "tokens".
        ceiling: the limit's value.
        committed: the sum spent and reserved so far.
        asked: the sum that the refused request would have added.
    """

    scope: str
    limit: str
    ceiling: Decimal
    committed: Decimal
    asked: Decimal

    @property
    def missing(self) -> Decimal:
        """The excess of the request over the ceiling."""
        return self.committed + self.asked - self.ceiling


class TooMany(AarError):
    """A client that sends too many requests.

    Args:
        what: the excessive action, with its bound.
        seconds: time until its next permitted request.
    """

    def __init__(self, what: str, seconds: float) -> None:
        self.seconds = max(1, int(seconds) + 1)
        super().__init__(what, f"Try again in {self.seconds} s")


class LimitReached(AarError):
    """A limit of the ledger that cannot be met."""

    def __init__(self, breach: LimitBreach, remedy: str = "") -> None:
        super().__init__(
            f"{breach.scope}: limit {breach.limit} = {breach.ceiling:f} reached "
            f"({breach.committed:f} spent or reserved, {breach.asked:f} more requested)",
            remedy,
        )
        self.breach = breach


def find_disk_full(error: BaseException) -> DiskFull | None:
    """Return the full disk behind an error, in one line with a remedy.

    None where the error has another cause.
    """
    for each in _chain(error):
        if isinstance(each, DiskFull):
            return each
        if isinstance(each, OSError) and each.errno in DISK_FULL_ERRNOS:
            place = f" {each.filename2 or each.filename}" if each.filename is not None else ""
            quota = "the quota is used up" if each.errno == errno.EDQUOT else "the disk is full"
            return DiskFull(f"{quota}: cannot write{place}", DISK_FULL_REMEDY)
        if isinstance(each, DatabaseError) and each.message.startswith("disk full"):
            return DiskFull(each.message, DISK_FULL_REMEDY)
    return None


def is_disk_full(folder: Path) -> bool:
    """Return True if the disk of a folder has no room for this process."""
    disk = os.statvfs(folder)
    blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail  # root may use the reserve
    return blocks * disk.f_frsize < _LEAST_BYTES


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    found: BaseException | None = error
    for _ in range(8):
        if found is None:
            return
        yield found
        found = found.__cause__


def is_transient(error: BaseException) -> bool:
    """Return True if an error may pass by itself.

    No descriptors, no memory, no disk, a database or a workspace in use.
    """
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS:
        return True
    return isinstance(error, (DatabaseError, StillInUse)) or find_disk_full(error) is not None
