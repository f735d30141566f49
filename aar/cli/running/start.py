"""``aar start`` and ``aar resume``: run a new campaign, or an earlier one again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from aar.campaign.controller_lock import hold_campaign
from aar.campaign.lifecycle import read_changed_spec
from aar.campaign.spec import load_spec
from aar.cli.campaign.steering import ResearcherOption, parse_limits, send_request
from aar.cli.context import LATEST, CampaignId, open_context
from aar.cli.options import DatabaseOption

_Usd = Annotated[str | None, typer.Option("--usd", metavar="N", help="Most dollars; `none` for no limit.")]
_Tokens = Annotated[str | None, typer.Option("--tokens", metavar="N", help="Most tokens of all kinds; or `none`.")]
_Hours = Annotated[str | None, typer.Option("--hours", metavar="N", help="Most hours of running; or `none`.")]
_Submissions = Annotated[str | None, typer.Option("--submissions", metavar="N", help="Most submissions; or `none`.")]
_Sandbox = Annotated[str | None, typer.Option("--sandbox", metavar="KIND", help="auto, docker or bubblewrap.")]
_Host = Annotated[str | None, typer.Option("--host", help="Address to serve the pages on.")]
_Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")]
_NoServe = Annotated[bool, typer.Option("--no-serve", help="Serve no pages.")]
_Plain = Annotated[bool, typer.Option("--plain", help="One line an event instead of the live view.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to every question.")]


def start(
    spec: Annotated[Path | None, typer.Argument(metavar="SPEC", help="YAML file; default: the quick campaign.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for people to read.")] = None,
    problem: Annotated[str | None, typer.Option(help="A name from `aar problem list`, or a folder.")] = None,
    researchers: Annotated[int | None, typer.Option("--researchers", "-n", metavar="N", help="How many.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Model id of all; `offline-search` is the keyless search baseline.")
    ] = None,
    directions: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML file of directions.")] = None,
    deal: Annotated[str | None, typer.Option(metavar="WAY", help="distinct, same or named.")] = None,
    sandbox: _Sandbox = None,
    usd: _Usd = None,
    tokens: _Tokens = None,
    hours: _Hours = None,
    submissions: _Submissions = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="Fresh seeds a submission is run on.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Repeatable draws, for tests only.")] = None,
    host: _Host = None,
    port: _Port = None,
    no_serve: _NoServe = False,
    plain: _Plain = False,
    yes: _Yes = False,
    database: DatabaseOption = None,
) -> None:
    """Run a campaign from SPEC, or a quick one of a few minutes.

    Flags override the spec. Without ANTHROPIC_API_KEY the team is the offline search baseline, which is not an LLM and
    costs nothing; with it the team is Claude, and the limit in dollars is printed before anything starts.

    Ctrl-C pauses cleanly; a second one stops at once and loses nothing either.
    """
    changes: dict[str, Any] = {
        "name": name,
        "problem": problem,
        "researchers.count": researchers,
        "researchers.model": model,
        "directions.file": None if directions is None else str(directions.expanduser()),
        "directions.deal": deal,
        "scoring.seeds": seeds,
        "seed": seed,
        "database": database,
    }
    overrides = {field: value for field, value in changes.items() if value is not None}
    overrides |= _limits(usd, tokens, hours, submissions) | _serve_options(sandbox, host, port, no_serve)
    loaded = load_spec(spec, overrides)
    from aar.cli.running.run_campaign import run_new_campaign  # loads the server: a wrong spec does not wait for it

    raise typer.Exit(run_new_campaign(loaded, plain=plain, yes=yes, any_port=port is None))


def resume(
    campaign: CampaignId = LATEST,
    researcher: ResearcherOption = None,
    usd: _Usd = None,
    tokens: _Tokens = None,
    hours: _Hours = None,
    submissions: _Submissions = None,
    sandbox: _Sandbox = None,
    host: _Host = None,
    port: _Port = None,
    no_serve: _NoServe = False,
    plain: _Plain = False,
    yes: _Yes = False,
    database: DatabaseOption = None,
) -> None:
    """Resume a paused or interrupted campaign.

    Its limits can be raised; everything else in its spec stays. With --researcher nothing is started here: the
    running controller, or the next one, resumes that researcher.
    """
    if researcher is not None:
        send_request(campaign, "resume", "", researcher, None, database)
        return

    overrides = _limits(usd, tokens, hours, submissions) | _serve_options(sandbox, host, port, no_serve)
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.reading() as session:
            spec = read_changed_spec(session, view.id, overrides)
        with hold_campaign(context.database, view.id):  # before the slow part, so that no other process resumes it
            from aar.cli.running.run_campaign import resume_campaign

            if database is not None:
                spec = spec.model_copy(update={"database": database})
            raise typer.Exit(resume_campaign(view.id, spec, overrides, plain=plain, yes=yes, any_port=port is None))


def _limits(usd: str | None, tokens: str | None, hours: str | None, submissions: str | None) -> dict[str, Any]:
    options = {"usd": usd, "tokens": tokens, "hours": hours, "submissions": submissions}
    return {f"limits.{limit}": value for limit, value in parse_limits(options).items()}


def _serve_options(sandbox: str | None, host: str | None, port: int | None, no_serve: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"sandbox.backend": sandbox, "serve.host": host, "serve.port": port}
    return {field: value for field, value in options.items() if value is not None} | (
        {"serve.enabled": False} if no_serve else {}
    )
