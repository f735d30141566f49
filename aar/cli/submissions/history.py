"""``aar submissions NUMBER --record``: the full record of a submission, for the operator."""

from __future__ import annotations

import json as json_module

from rich.console import Console

from aar.cli.context import CliContext
from aar.cli.output.formatting import clean_line, clean_text, format_datetime, format_score
from aar.cli.output.printing import make_console, make_table, print_json
from aar.cli.submissions.details import submission_standing
from aar.scoring.submission_history import SubmissionRecord, read_submission_record


def print_history(workplace: CliContext, campaign: str, number: int, json: bool) -> None:
    """Print the full record of a submission.

    Raises NotFound.
    """
    view = workplace.campaign(campaign)
    with workplace.database.reading() as session:
        found = read_submission_record(session, view.id, number)
    if json:
        print_json(found)
        return
    out = make_console()
    _print_frozen(out, found)
    _print_measured(out, found)
    _print_judged(out, found)


def _print_frozen(out: Console, found: SubmissionRecord) -> None:
    view = found.submission
    same, alike = (", ".join(f"s{number}" for number in which) for which in (found.same_code, found.alike))
    out.print(f"s{view.number}: {clean_line(view.title)}", style="bold")
    for name, value in (
        ("by", f"{clean_line(view.researcher_name)}, {format_datetime(view.created_at)}"),
        ("stands", clean_line(submission_standing(view))),
        ("digest", view.digest + (f", the same files as {same}" if same else "")),
        ("alike", f"the same code as {alike} but for layout and names" if alike else "–"),
        ("parent", view.parent or "–"),
        ("charged", f"{found.charged_runs} scoring runs"),
        ("claim", clean_text(view.claim)),
        ("expected", clean_text(view.hypothesis) or "–"),
        ("verdict", clean_text(view.verdict) or "–"),
    ):
        out.print(f"{name:>9}  {value}", soft_wrap=True)


def _print_measured(out: Console, found: SubmissionRecord) -> None:
    runs = make_table("run", "domain", "drawn", "seed", "split", "state", "output", "s", right=("seed", "split", "s"))
    for run in found.runs:
        runs.add_row(
            f"{run.phase} {run.index}",
            clean_line(run.domain),
            format_datetime(run.drawn_at),
            str(run.seed),
            str(run.split_seed),
            run.state,
            (run.output_digest or "–")[:12],
            f"{run.seconds:.1f}",
        )
    if found.runs:
        out.print()
        out.print(runs)
    for run in found.runs:
        if run.verdict:
            out.print(f"{run.phase} {run.index}: {clean_line(run.verdict)}", style="dim", soft_wrap=True)
    estimates = make_table("scores", "score", "90 % interval", "seeds", right=("seeds",))
    for each in found.estimates:
        interval = f"{each.low:.2f} … {each.high:.2f}"
        estimates.add_row(each.phase, format_score(each.mean, each.standard_error), interval, str(each.seeds))
    if found.estimates:
        out.print()
        out.print(estimates)


def _print_judged(out: Console, found: SubmissionRecord) -> None:
    for audit in found.audits:
        rule = f" {clean_line(audit.rule)}" if audit.rule else ""
        out.print(f"\n{format_datetime(audit.at)} {clean_line(audit.audit)} audit: {audit.verdict}{rule}")
        out.print(clean_text(audit.reason), soft_wrap=True)
        if audit.evidence:
            evidence = json_module.dumps(audit.evidence, indent=1, ensure_ascii=False)
            out.print(clean_text(evidence), style="dim", soft_wrap=True)
    changes = make_table("changes", "", "by", "why")
    for change in found.changes:
        changes.add_row(
            format_datetime(change.at),
            f"{change.old or '–'} → {change.new}",
            clean_line(change.by),
            clean_line(change.cause),
        )
    if found.changes:
        out.print()
        out.print(changes)
    for check in found.checks:
        out.print(
            f"\n{check.kind} asked for by {clean_line(check.by)}, {format_datetime(check.created_at)}: {check.state}"
        )
        out.print(clean_line(check.cause), soft_wrap=True)
    log = make_table("event", "", "", right=("event",))
    for event in found.happenings:
        log.add_row(str(event.id), format_datetime(event.at), clean_line(event.line))
    out.print()
    out.print(log)
