"""Writes the report: one static HTML file that needs no other file.

It opens from disk and runs nothing.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from aar.errors import UsageError
from aar.forum.markdown import render_markdown
from aar.readmodels.formatting import OFFLINE_LABEL, PUBLIC_USD_PER_AGENT_HOUR, TEMPLATE_FILTERS, phase_label
from aar.readmodels.submission_code import open_local_snapshots
from aar.report import ASSETS
from aar.report.charts.diversity_chart import diversity_chart, diversity_legend
from aar.report.charts.score_chart import interval_bar, lineage_chart, score_chart, score_legend
from aar.report.charts.seed_chart import seed_chart
from aar.report.charts.svg import series_class
from aar.report.charts.transfer_chart import transfer_chart, transfer_legend
from aar.report.report_data import ReportData, build_report
from aar.settings import get_settings
from aar.snapshots.store import SnapshotStore
from aar.store.database import Database
from aar.text import clean_line, clean_text

CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Set in the file itself, so that injected content could neither run nor load anything."""


def make_template_environment(package: str) -> Environment:
    """Makes a template environment that escapes everything and provides the formatters.

    The report and the pages use it.
    """
    made = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        TEMPLATE_FILTERS, markdown=render_markdown, line=clean_line, clean=clean_text, series=series_class
    )
    made.filters.update(phase_label=phase_label, json_text=format_json)
    made.globals.update(
        offline_label=OFFLINE_LABEL,
        public_rate=PUBLIC_USD_PER_AGENT_HOUR,
        score_chart=score_chart,
        diversity_chart=diversity_chart,
        diversity_legend=diversity_legend,
        interval_bar=interval_bar,
        legend=score_legend,
        lineage_chart=lineage_chart,
        seed_chart=seed_chart,
        transfer_chart=transfer_chart,
        transfer_legend=transfer_legend,
    )
    return made


def format_json(value: Any) -> str:
    """Formats a JSON value as inert text for people."""
    return clean_text(json.dumps(value, indent=1, ensure_ascii=False, default=str))


_templates = make_template_environment("aar.report")


def render_report(data: ReportData) -> str:
    """Renders the report as HTML."""
    style = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in ("base.css", "chart.css", "report.css"))
    series = {each.id: each.index for each in data.researchers}
    return _templates.get_template("report.html").render(data=data, style=style, policy=CONTENT_POLICY, series=series)


def write_report(db: Database, campaign_id: str, path: Path, *, snapshots: SnapshotStore | None = None) -> Path:
    """Writes a campaign's report; replaces an existing file atomically.

    Args:
        path: the file to write; its folder is made if absent.
        snapshots: store of the frozen code; the campaign's own folder under AAR_HOME by default.

    Raises:
        NotFound: no such campaign.
        UsageError: the file cannot be written.
    """
    store = snapshots or open_local_snapshots(get_settings().campaign_dir(campaign_id))
    with db.reading() as session:
        html = render_report(build_report(session, store, campaign_id))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(html)
            Path(draft).chmod(0o644)
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", "Choose another path with --output") from error
    return path
