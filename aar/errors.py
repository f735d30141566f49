"""Every error that `aar` raises on purpose.

::

    AarError                     one line a person can act on, and a remedy
    ├── UsageError               the input is wrong; nothing was started or spent
    │   ├── SpecError            a campaign spec does not hold
    │   ├── SeedFileError        a file of directions does not hold
    │   └── NotFound             no campaign, post, submission, problem ... of that name
    ├── SetupError               this machine lacks something that a campaign needs
    │   ├── SandboxUnavailable   no sandbox backend works here
    │   │   └── BackendAway      the backend does not answer now; it is waited for
    │   ├── DatabaseError        the database is locked, newer than this program, or unreachable
    │   ├── DiskFull             a disk or a quota has no room
    │   ├── PortTaken            the address to serve on is in use
    │   └── DataMissing          a problem's data is absent or damaged
    ├── Conflict                 the state of things does not allow the request (two controllers, say)
    ├── Forbidden                the token does not allow the request
    ├── SandboxError             a sandbox did not do its part
    │   ├── SandboxGone          the sandbox is no more; the command's fate is unknown
    │   ├── StillInUse           what a former sandbox left is still in use; it is waited for
    │   └── TransferRefused      a path or archive tried to leave its place, or was too large
    ├── LimitReached             a limit of the ledger cannot be met; says which, and by how much
    ├── TooMany                  a client asks or writes too often; says the bound, and when to come again
    ├── GatewayError             a model call failed for good
    │   ├── KeyRefused           the API key was refused
    │   └── ModelUnavailable     the service answered with an error after all retries
    ├── ProblemError             a problem plug-in broke its contract
    │   └── PluginFailed         a call of a problem's own code raised, hung, ended its process or answered with rubbish
    └── BoundExceeded            a call on untrusted input took too long, too much memory, or ended its process

"The command failed" is not an error: it is an ``ExecResult`` with its exit reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


class AarError(Exception):
    """Base of all errors that `aar` raises on purpose.

    Args:
        message: one line that names the thing that is wrong.
        remedy: one line that says what to do about it; empty where there is nothing to do.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class UsageError(AarError):
    """The input is wrong; nothing was started or spent."""

    exit_code = 2


class SpecError(UsageError):
    """A campaign spec does not hold."""


class SeedFileError(UsageError):
    """A file of directions does not hold."""


class NotFound(UsageError):
    """Nothing of that name exists."""


class SetupError(AarError):
    """This machine lacks something that a campaign needs."""

    exit_code = 3


class SandboxUnavailable(SetupError):
    """No sandbox backend works here."""


class BackendAway(SandboxUnavailable):
    """The sandbox backend does not answer now, such as an engine that is restarted; it is waited for."""


class DatabaseError(SetupError):
    """The database is locked, newer than this program, or unreachable."""


class DiskFull(SetupError):
    """A disk or a quota has no room."""


class PortTaken(SetupError):
    """The address to serve on is in use."""


class DataMissing(SetupError):
    """A problem's data is absent or damaged."""


class Conflict(AarError):
    """The state of things does not allow the request."""


class Forbidden(AarError):
    """The token does not allow the request."""


class SandboxError(AarError):
    """A sandbox did not do its part."""


class SandboxGone(SandboxError):
    """The sandbox is no more; the fate of what ran in it is unknown."""


class StillInUse(SandboxError):
    """What a former sandbox left is still in use, such as a mounted workspace; it is waited for."""


class TransferRefused(SandboxError):
    """A path or archive tried to leave its place, or was too large."""


class GatewayError(AarError):
    """A model call failed for good."""


class KeyRefused(GatewayError):
    """The API key was refused."""


class ModelUnavailable(GatewayError):
    """The service answered with an error after all retries."""


class ProblemError(AarError):
    """A problem plug-in broke its contract."""


class PluginFailed(ProblemError):
    """A call of a problem's own code raised, hung, ended its process or answered with rubbish.

    Args:
        message: what happened in which call, with the place in the code; it quotes nothing that the problem holds.
        detail: what the code itself said, which may quote hidden data: for the problem's author alone.
        cause: ``raised``, ``answer``, ``time``, ``memory`` or ``died``.
    """

    def __init__(self, message: str, remedy: str = "", detail: str = "", cause: str = "raised") -> None:
        super().__init__(message, remedy)
        self.detail = detail
        self.cause = cause

    def __reduce__(self) -> tuple[type[PluginFailed], tuple[str, str, str, str]]:
        return PluginFailed, (self.message, self.remedy, self.detail, self.cause)


class BoundExceeded(AarError):
    """A call in a process of its own went beyond its limits.

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
    """Which limit could not be met, and by how much.

    Args:
        scope: "campaign" or a researcher's id.
        limit: the limit's name as in the spec, such as "usd" or "tokens".
        ceiling: the limit's value.
        committed: what is spent and reserved so far.
        asked: what the refused request would have added.
    """

    scope: str
    limit: str
    ceiling: Decimal
    committed: Decimal
    asked: Decimal

    @property
    def missing(self) -> Decimal:
        """By how much the request overshoots the ceiling."""
        return self.committed + self.asked - self.ceiling


class TooMany(AarError):
    """A client asks or writes too often.

    Args:
        what: what it does too much of, with the bound.
        seconds: until it may ask again.
    """

    def __init__(self, what: str, seconds: float) -> None:
        self.seconds = max(1, int(seconds) + 1)
        super().__init__(what, f"Try again in {self.seconds} s")


class LimitReached(AarError):
    """A limit of the ledger cannot be met."""

    def __init__(self, breach: LimitBreach, remedy: str = "") -> None:
        super().__init__(
            f"{breach.scope}: limit {breach.limit} = {breach.ceiling:f} reached "
            f"({breach.committed:f} spent or reserved, {breach.asked:f} more asked)",
            remedy,
        )
        self.breach = breach
