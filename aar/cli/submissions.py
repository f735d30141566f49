"""``aar leaderboard`` and ``aar submissions``: list submissions, or show one with its code or its record."""

from __future__ import annotations

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
from aar.readmodels.submission_code import read_submission_code
from aar.readmodels.submission_details import Score, SubmissionDetails, read_submission_details
from aar.scoring.audits.audit_findings import FindingView
from aar.scoring.submission_history import EstimateRecord, SubmissionRecord, read_submission_record
from aar.scoring.submissions import SubmissionView, get_submission, list_submissions
from aar.text import clean_line, clean_text, parse_submission_number, shorten

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
    with open_context(database) as context:
        view = context.campaign(campaign)
        metric = find_metric(view.problem)
        higher = metric is None or metric.higher_is_better
        with context.database.reading() as session:
            board = read_board(session, view.id, limit=limit, higher_is_better=higher)
    if json:
        print_json(board.rows)
        return
    table = leaderboard_table(board.rows, metric.name if metric else "score")
    print_table(table, empty="No submission is measured yet.")
    _print_fallen("Disqualified", board.disqualified)
    _print_fallen("Refuted at confirmation", board.refuted)


def leaderboard_table(rows: list[BoardRow], metric: str) -> Table:
    """Return the rows of the leaderboard as a table."""
    table = make_table(
        "#", "band", metric, "90 % interval", "confirmed", "seeds", "", "by", "status", "title", right=("#", "seeds")
    )
    for row in rows:
        each = row.submission
        interval = "–" if each.low is None or each.high is None else f"{each.low:.2f} … {each.high:.2f}"
        sealed = row.confirmed.score if row.confirmed else None
        table.add_row(
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
    return table


def _print_fallen(heading: str, submissions: list[SubmissionView]) -> None:
    out = make_console()
    if submissions:
        out.print(f"\n{heading}", style="bold")
    for each in submissions:
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
    with open_context(database) as context:
        view = context.campaign(campaign)
        if number is None:
            _print_list(context, view.id, researcher, json)
        elif record:
            _print_record(context, view.id, parse_submission_number(number), json)
        else:
            _print_submission(context, view.id, parse_submission_number(number), json)


def _print_list(context: CliContext, campaign_id: str, researcher: str | None, json: bool) -> None:
    submissions: list[SubmissionView] = []
    with context.database.reading() as session:
        by = None if researcher is None else get_researcher(session, campaign_id, researcher).id
        while page := list_submissions(
            session, campaign_id, researcher_id=by, after=submissions[-1].number if submissions else 0, limit=500
        ):
            submissions += page
    if json:
        print_json(submissions)
        return
    table = make_table("", "by", "at", "state", "score", "title")
    for each in submissions:
        table.add_row(
            f"s{each.number}",
            clean_line(each.researcher_name),
            format_clock(each.created_at),
            clean_line(_status_text(each)),
            format_score(each.mean, each.standard_error),
            clean_line(each.title),
        )
    print_table(table, empty="There is no submission yet.")


def _print_submission(context: CliContext, campaign_id: str, number: int, json: bool) -> None:
    with context.database.reading() as session:
        view = get_submission(session, campaign_id, number)
        details = read_submission_details(session, campaign_id, number)
    files = read_submission_code(context.snapshots(campaign_id), view.digest)
    if json:
        print_json({**to_json_value(view), **to_json_value(details), "files": files})
        return
    out = make_console()
    out.print(f"s{view.number}: {clean_line(view.title)}", style="bold")
    for name, value in (
        ("by", f"{clean_line(view.researcher_name)}, {format_datetime(view.created_at)}"),
        ("state", clean_line(_status_text(view))),
        ("score", f"{format_score(view.mean, view.standard_error)} over {view.seeds} seeds" if view.seeds else "–"),
        ("verdict", clean_text(view.verdict) or "–"),
        ("families", ", ".join(clean_line(family) for family in view.families) or "–"),
        ("digest", view.digest + (f", built on {view.parent}" if view.parent else "")),
    ):
        out.print(f"{name:>9}  {value}")
    out.print()
    out.print(clean_text(view.claim))
    if view.hypothesis:
        out.print(f"\nExpected: {clean_text(view.hypothesis)}")
    _print_results(out, details)
    if not files:
        out.print("\nIts code is not stored on this machine.", style="dim")
    for file in files:
        out.print()
        out.print(Rule(clean_line(file.path), align="left", characters="─"))
        text = f"({file.size_bytes} bytes, not text)" if file.text is None else clean_text(file.text)
        out.print(text, soft_wrap=True)


def _status_text(view: SubmissionView) -> str:
    """Return a submission's status as short text, such as ``confirmed``.

    Also ``disqualified: static.network`` or ``queued``.
    """
    if view.disqualified:
        return f"disqualified: {view.disqualified}"
    return view.state if not view.finished else submission_status_word(view.state, view.status, "")


def print_details(view: SubmissionView, details: SubmissionDetails) -> None:
    """Print scores by phase, audits, checks and history."""
    out = make_console()
    out.print(f"s{view.number}: {clean_line(view.title)}", style="bold")
    out.print(
        f"by {clean_line(view.researcher_name)}, {format_datetime(view.created_at)}; {clean_line(_status_text(view))}"
    )
    _print_results(out, details)


def _print_results(out: Console, details: SubmissionDetails) -> None:
    """Print scores by phase, audits, history and open checks, leaving out empty parts."""
    scores = make_table("scores", "score", "90 % interval", "seeds", "by domain", right=("seeds",))
    for phase in details.phases:
        domains = ", ".join(f"{clean_line(name)} {format_score(part.mean)}" for name, part in phase.domains.items())
        scores.add_row(phase_label(phase.phase), *_score_cells(phase.score), str(phase.seeds), domains or "–")
    _print_rows(out, scores)
    for audit in details.audits:
        _print_audit(out, audit, _STYLES.get(audit.verdict, ""))
    history = make_table("history", "", "by", "why")
    for change in details.history:
        status = f"{change.old} → {change.new}" if change.old else change.new
        history.add_row(format_datetime(change.at), status, clean_line(change.by), shorten(change.cause, 400))
    _print_rows(out, history)
    for check in details.waiting:
        out.print(f"\n{check.kind}: {check.state}, {clean_line(check.cause)}", style="yellow")


def _score_cells(score: Score | EstimateRecord) -> tuple[str, str]:
    return format_score(score.mean, score.standard_error), f"{score.low:.2f} … {score.high:.2f}"


def _print_audit(out: Console, audit: FindingView, style: str = "", at: str = "") -> None:
    rule = f" {clean_line(audit.rule)}" if audit.rule else ""
    out.print(f"\n{at}{clean_line(audit.audit)} audit: {audit.verdict}{rule}", style=style)
    out.print(clean_text(audit.reason), soft_wrap=True)
    if audit.evidence:
        evidence = json_module.dumps(audit.evidence, indent=1, ensure_ascii=False)
        out.print(clean_text(evidence), style="dim", soft_wrap=True)


def _print_rows(out: Console, table: Table) -> None:
    if table.row_count:
        out.print()
        out.print(table)


def _print_record(context: CliContext, campaign_id: str, number: int, json: bool) -> None:
    """Print the full record of a submission, for the operator."""
    with context.database.reading() as session:
        record = read_submission_record(session, campaign_id, number)
    if json:
        print_json(record)
        return
    out = make_console()
    view = record.submission
    same, alike = (", ".join(f"s{number}" for number in numbers) for numbers in (record.same_code, record.alike))
    out.print(f"s{view.number}: {clean_line(view.title)}", style="bold")
    for name, value in (
        ("by", f"{clean_line(view.researcher_name)}, {format_datetime(view.created_at)}"),
        ("stands", clean_line(_status_text(view))),
        ("digest", view.digest + (f", the same files as {same}" if same else "")),
        ("alike", f"the same code as {alike} but for layout and names" if alike else "–"),
        ("parent", view.parent or "–"),
        ("charged", f"{record.charged_runs} scoring runs"),
        ("claim", clean_text(view.claim)),
        ("expected", clean_text(view.hypothesis) or "–"),
        ("verdict", clean_text(view.verdict) or "–"),
    ):
        out.print(f"{name:>9}  {value}", soft_wrap=True)
    _print_record_results(out, record)
    for audit in record.audits:
        _print_audit(out, audit, at=f"{format_datetime(audit.at)} ")
    changes = make_table("changes", "", "by", "why")
    for change in record.changes:
        status = f"{change.old or '–'} → {change.new}"
        changes.add_row(format_datetime(change.at), status, clean_line(change.by), clean_line(change.cause))
    _print_rows(out, changes)
    for check in record.checks:
        by = f"{clean_line(check.by)}, {format_datetime(check.created_at)}"
        out.print(f"\n{check.kind} asked for by {by}: {check.state}")
        out.print(clean_line(check.cause), soft_wrap=True)
    events = make_table("event", "", "", right=("event",))
    for event in record.happenings:
        events.add_row(str(event.id), format_datetime(event.at), clean_line(event.line))
    out.print()
    out.print(events)


def _print_record_results(out: Console, record: SubmissionRecord) -> None:
    runs = make_table("run", "domain", "drawn", "seed", "split", "state", "output", "s", right=("seed", "split", "s"))
    for run in record.runs:
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
    _print_rows(out, runs)
    for run in record.runs:
        if run.verdict:
            out.print(f"{run.phase} {run.index}: {clean_line(run.verdict)}", style="dim", soft_wrap=True)
    scores = make_table("scores", "score", "90 % interval", "seeds", right=("seeds",))
    for each in record.estimates:
        scores.add_row(each.phase, *_score_cells(each), str(each.seeds))
    _print_rows(out, scores)
