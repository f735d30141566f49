"""``aar leaderboard`` and ``aar submissions``: list submissions, or show one with its code or its record."""

from __future__ import annotations

import json
import json as json_module
from typing import Annotated

import typer
from rich.console import Console
from rich.rule import Rule
from rich.table import Table

from aar.campaign.views import get_researcher
from aar.cli.context import LATEST, CampaignId, CampaignOption, CliContext, open_context
from aar.cli.options import MOST_ROWS, DatabaseOption, JsonFlag
from aar.cli.output.printing import make_console, make_table, print_json, print_table, to_json_value
from aar.errors import UsageError
from aar.forum.references import submission_status_word
from aar.readmodels.formatting import format_clock, format_datetime, format_score, phase_label
from aar.readmodels.leaderboard import BoardRow, find_metric, read_board
from aar.readmodels.submission_code import CodeFile, read_submission_code
from aar.readmodels.submission_details import SubmissionDetails, read_submission_details
from aar.scoring.submission_history import SubmissionRecord, read_submission_record
from aar.scoring.submissions import SubmissionView, get_submission, list_submissions
from aar.text import clean_line, clean_text, shorten


def leaderboard(
    campaign: CampaignId = LATEST,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST_ROWS, help="Rows to show.")] = 20,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Show measured submissions, best first.

    The controller measures scores in a clean room; no researcher can write one. Rows of one band cannot be told
    apart. Once a submission is confirmed on unseen data, the best confirmed one leads. What was disqualified or refuted
    stands below, without a rank.
    """
    with open_context(database) as workplace:
        view = workplace.campaign(campaign)
        metric = find_metric(view.problem)
        higher = metric is None or metric.higher_is_better
        with workplace.database.reading() as session:
            found = read_board(session, view.id, limit=limit, higher_is_better=higher)
    if json:
        print_json(found.rows)
        return
    print_table(
        leaderboard_table(found.rows, metric.name if metric else "score"), empty="No submission is measured yet."
    )
    _print_fallen("Disqualified", found.disqualified)
    _print_fallen("Refuted at confirmation", found.refuted)


def leaderboard_table(rows: list[BoardRow], metric: str) -> Table:
    """Return the rows of the leaderboard as a table."""
    made = make_table(
        "#", "band", metric, "90 % interval", "confirmed", "seeds", "", "by", "status", "title", right=("#", "seeds")
    )
    for row in rows:
        each = row.submission
        interval = "–" if each.low is None or each.high is None else f"{each.low:.2f} … {each.high:.2f}"
        sealed = row.confirmed.score if row.confirmed else None
        made.add_row(
            str(row.rank),
            str(row.band),
            format_score(each.mean, each.standard_error),
            interval,
            format_score(sealed.mean, sealed.standard_error) if sealed else "–",
            str(each.seeds),
            f"s{each.number}",
            clean_line(each.researcher_name) + (" (outside)" if each.outside else ""),
            "provisional" if row.provisional else each.status,
            clean_line(" ".join([each.title, *(f"[{label}]" for label in row.labels)])),
        )
    return made


def _print_fallen(head: str, found: list[SubmissionView]) -> None:
    out = make_console()
    if found:
        out.print(f"\n{head}", style="bold")
    for each in found:
        rule = f"  {clean_line(each.disqualified)}" if each.disqualified else ""
        out.print(f"  s{each.number} by {clean_line(each.researcher_name)}{rule}  {clean_line(each.title)}")


def submissions(
    number: Annotated[
        str | None, typer.Argument(metavar="NUMBER", help="Show one with its code: `12` or `s12`.")
    ] = None,
    campaign: CampaignOption = LATEST,
    researcher: Annotated[str | None, typer.Option("--researcher", "-r", help="Only this one's, such as r2.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Show its full record instead: seeds, runs, audits, every change.")
    ] = False,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """List submissions, or show one with its code."""
    if record and number is None:
        raise UsageError(
            "submission number is missing: --record shows one submission", "Add it: aar submissions s12 --record"
        )
    with open_context(database) as workplace:
        if record and number is not None:
            print_history(workplace, campaign, parse_submission_number(number), json)
        elif number is None:
            _list(workplace, campaign, researcher, json)
        else:
            _show(workplace, campaign, number, json)


def _list(workplace: CliContext, campaign: str, researcher: str | None, json: bool) -> None:
    view = workplace.campaign(campaign)
    found: list[SubmissionView] = []
    with workplace.database.reading() as session:
        by = None if researcher is None else get_researcher(session, view.id, researcher).id
        while page := list_submissions(
            session, view.id, researcher_id=by, after=found[-1].number if found else 0, limit=500
        ):
            found += page
    if json:
        print_json(found)
        return
    made = make_table("", "by", "at", "state", "score", "title")
    for each in found:
        made.add_row(
            f"s{each.number}",
            clean_line(each.researcher_name),
            format_clock(each.created_at),
            clean_line(submission_standing(each)),
            format_score(each.mean, each.standard_error),
            clean_line(each.title),
        )
    print_table(made, empty="There is no submission yet.")


def _show(workplace: CliContext, campaign: str, number: str, json: bool) -> None:
    wanted = parse_submission_number(number)
    view = workplace.campaign(campaign)
    with workplace.database.reading() as session:
        found = get_submission(session, view.id, wanted)
        close = read_submission_details(session, view.id, wanted)
    files = read_submission_code(workplace.snapshots(view.id), found.digest)
    if json:
        print_json({**to_json_value(found), **to_json_value(close), "files": files})
        return
    _print(found, close, files)


def parse_submission_number(given: str) -> int:
    """Return the number of a submission from ``12`` or ``s12``.

    Raises UsageError.
    """
    digits = given.removeprefix("s").removeprefix("S")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise UsageError(f"submission number is not valid: got {given!r}, expected 12 or s12", "See `aar submissions`")
    return int(digits)


def _print(found: SubmissionView, close: SubmissionDetails, files: list[CodeFile]) -> None:
    out = make_console()
    out.print(f"s{found.number}: {clean_line(found.title)}", style="bold")
    for name, value in (
        ("by", f"{clean_line(found.researcher_name)}, {format_datetime(found.created_at)}"),
        ("state", clean_line(submission_standing(found))),
        ("score", f"{format_score(found.mean, found.standard_error)} over {found.seeds} seeds" if found.seeds else "–"),
        ("verdict", clean_text(found.verdict) or "–"),
        ("families", ", ".join(clean_line(family) for family in found.families) or "–"),
        ("digest", found.digest + (f", built on {found.parent}" if found.parent else "")),
    ):
        out.print(f"{name:>9}  {value}")
    out.print()
    out.print(clean_text(found.claim))
    if found.hypothesis:
        out.print(f"\nExpected: {clean_text(found.hypothesis)}")
    print_checks(out, close)
    if not files:
        out.print("\nIts code is not stored on this machine.", style="dim")
    for file in files:
        out.print()
        out.print(Rule(clean_line(file.path), align="left", characters="─"))
        text = f"({file.size_bytes} bytes, not text)" if file.text is None else clean_text(file.text)
        out.print(text, soft_wrap=True)


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
