"""The details of a submission, printed for the terminal."""

from __future__ import annotations

import json

from rich.console import Console

from aar.cli.output.formatting import clean_line, clean_text, format_datetime, format_score, shorten
from aar.cli.output.printing import make_console, make_table
from aar.forum.references.citations import submission_status_word
from aar.readmodels.submissions.phase_labels import phase_label
from aar.readmodels.submissions.submission_details import SubmissionDetails
from aar.scoring.submissions import SubmissionView

_STYLES = {
    "passed": "green",
    "confirmed": "green",
    "labelled": "yellow",
    "flagged": "yellow",
    "refuted": "red",
    "rejected": "red",
    "disqualified": "red",
    "skipped": "dim",
}


def submission_standing(found: SubmissionView) -> str:
    """Return a submission's status as short text, such as ``confirmed``.

    Also ``disqualified: static.network`` or ``queued``.
    """
    if found.disqualified:
        return f"disqualified: {found.disqualified}"
    return found.state if not found.finished else submission_status_word(found.state, found.status, "")


def print_details(found: SubmissionView, close: SubmissionDetails) -> None:
    """Print scores by phase, audits, checks and history."""
    out = make_console()
    out.print(f"s{found.number}: {clean_line(found.title)}", style="bold")
    out.print(
        f"by {clean_line(found.researcher_name)}, {format_datetime(found.created_at)}; "
        f"{clean_line(submission_standing(found))}"
    )
    print_checks(out, close)


def print_checks(out: Console, close: SubmissionDetails) -> None:
    """Print scores by phase, audits, history and open checks, leaving out empty parts."""
    if close.phases:
        made = make_table("scores", "score", "90 % interval", "seeds", "by domain", right=("seeds",))
        for phase in close.phases:
            each = phase.score
            domains = ", ".join(f"{clean_line(name)} {format_score(part.mean)}" for name, part in phase.domains.items())
            made.add_row(
                phase_label(phase.phase),
                format_score(each.mean, each.standard_error),
                f"{each.low:.2f} … {each.high:.2f}",
                str(phase.seeds),
                domains or "–",
            )
        out.print()
        out.print(made)
    for audit in close.audits:
        rule = f" {clean_line(audit.rule)}" if audit.rule else ""
        out.print(f"\n{clean_line(audit.audit)} audit: {audit.verdict}{rule}", style=_STYLES.get(audit.verdict, ""))
        out.print(clean_text(audit.reason), soft_wrap=True)
        if audit.evidence:
            out.print(clean_text(json.dumps(audit.evidence, indent=1, ensure_ascii=False)), style="dim", soft_wrap=True)
    if close.history:
        made = make_table("history", "", "by", "why")
        for change in close.history:
            why = shorten(change.cause, 400)
            made.add_row(
                format_datetime(change.at),
                f"{change.old} → {change.new}" if change.old else change.new,
                clean_line(change.by),
                why,
            )
        out.print()
        out.print(made)
    for check in close.waiting:
        out.print(f"\n{check.kind}: {check.state}, {clean_line(check.cause)}", style="yellow")
