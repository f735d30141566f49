import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from aar.cli.campaign.status import render_dashboard
from aar.readmodels.campaign_overview import CampaignOverview, read_overview
from aar.readmodels.formatting import format_limits
from aar.settings import Settings
from aar.store import open_database


@pytest.fixture
def found(written_home: Path) -> CampaignOverview:
    database = open_database(Settings(home=written_home).database_url)
    try:
        with database.reading() as session:
            return read_overview(session, "k3v9qd")
    finally:
        database.close()


def _drawn(found: CampaignOverview, *, width: int = 130, height: int | None = None) -> list[str]:
    out = Console(file=io.StringIO(), width=width, markup=False, highlight=False, emoji=False, color_system=None)
    out.print(render_dashboard(found, seconds=2400, hint="Ctrl-C pauses", height=height))
    return out.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [60, 80, 130, 220])
def test_it_fits_any_width(found: CampaignOverview, width: int) -> None:
    assert all(len(line) <= width for line in _drawn(found, width=width))


def test_a_large_team_is_cut_to_the_screen(found: CampaignOverview) -> None:
    crowd = replace(found, rows=found.rows * 15)
    drawn = _drawn(crowd, height=45)
    assert len(drawn) <= 45
    assert any("more" in line for line in drawn)
    assert len(_drawn(crowd)) > 60


def test_it_says_what_matters(found: CampaignOverview) -> None:
    said = "\n".join(_drawn(found))
    for part in ("k3v9qd", "40 min 00 s", "simplicity", "human:ana question", "Ctrl-C pauses", "┃", "0.55 ± 0.04"):
        assert part in said


def test_before_anything_is_measured(found: CampaignOverview) -> None:
    early = replace(found, best=None, rows=[replace(row, best=None) for row in found.rows], posts=[], bits=0.0)
    said = "\n".join(_drawn(early))
    assert "nothing measured yet; the human baseline is 0.23" in said


def test_without_the_problem_installed(found: CampaignOverview) -> None:
    assert any("best score" in line for line in _drawn(replace(found, metric=None)))


def test_hostile_names_stay_text(found: CampaignOverview) -> None:
    researcher = replace(found.rows[0].researcher, doing="\x1b[2J[bold]x[/bold]\n:boom:", direction_key="[red]")
    said = "\n".join(_drawn(replace(found, rows=[replace(found.rows[0], researcher=researcher)])))
    assert "\x1b" not in said
    assert "[bold]x[/bold] :boom:" in said
    assert "[red]" in said


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        ({}, "none"),
        ({"usd": "5", "hours": 0.1}, "$5, 0.1 h"),
        ({"tokens": 10, "researcher": {"usd": "2", "turns": None}}, "10 tokens, each researcher usd 2"),
    ],
)
def test_limits_line(limits: dict[str, object], line: str) -> None:
    assert format_limits(limits) == line
