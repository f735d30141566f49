"""Collects the audits of a campaign: shipped, passed in, and from installed packages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from aar.errors import SetupError
from aar.scoring.audits.coordinate_change import CoordinatesAudit
from aar.scoring.audits.label_noise import LabelNoiseAudit
from aar.scoring.audits.protocol import Audit, AuditStage
from aar.scoring.audits.split_sensitivity import SplitSensitivityAudit
from aar.scoring.audits.static import StaticAudit
from aar.scoring.audits.teacher_permutation import TeacherAudit

AUDIT_ENTRY_POINTS = "aar.audits"


def available_audits(*, noise_levels: Sequence[float], extra: Sequence[Audit] = ()) -> list[Audit]:
    """Return the audits of a campaign, those that read code first.

    An installed package brings one by an entry point of the group ``aar.audits`` that names a class made without
    arguments.

    Args:
        noise_levels: shares of the teacher's labels to turn round, above 0 and at most one half.
        extra: audits that need something of the campaign's, such as the reviewer its model.

    Raises:
        SetupError: a plug-in cannot be loaded, does not implement ``Audit``, or takes a name that is in use.
    """
    shipped: list[Audit] = [
        StaticAudit(),
        TeacherAudit(),
        LabelNoiseAudit(noise_levels),
        SplitSensitivityAudit(),
        CoordinatesAudit(),
    ]
    found = [
        *shipped,
        *extra,
        *map(_loaded, sorted(entry_points(group=AUDIT_ENTRY_POINTS), key=lambda entry: entry.name)),
    ]
    twice = [name for name, times in Counter(audit.name for audit in found).items() if times > 1]
    if twice:
        raise SetupError(
            f"audit name is not unique: got {twice[0]!r} twice",
            f"Give the one in the entry points {AUDIT_ENTRY_POINTS!r} another name",
        )
    return sorted(found, key=lambda audit: audit.stage is not AuditStage.SUBMITTED)


def _loaded(entry: EntryPoint) -> Audit:
    brought = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    what = f"audit {entry.name!r} ({entry.value}){brought}"
    try:
        made = entry.load()()
    except Exception as error:
        raise SetupError(
            f"{what} cannot be loaded: {type(error).__name__}: {error}",
            "Update or uninstall the package that contains it",
        ) from error
    if isinstance(made, Audit) and isinstance(made.stage, AuditStage):
        return made
    missing = [name for name in ("name", "stage", "phases", "judge") if not hasattr(made, name)]
    lacks = f"lacks {', '.join(missing)}" if missing else "has no AuditStage as its stage"
    raise SetupError(f"{what} {lacks}", "Implement aar.scoring.audits.protocol.Audit")
