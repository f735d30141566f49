"""The report is one file that needs nothing else, says the whole story, and can do nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aar.errors import NotFound, UsageError
from aar.readmodels.formatting import OFFLINE_LABEL
from aar.redteam.campaign_rows import add_campaign
from aar.report.html_report import write_report
from aar.testing.example_campaign import PART, SECRET

from ..example_copies import ExampleCopies
from .conftest import Archive, open_archive


class Elements(HTMLParser):
    """Collects elements; void and self-closing ones too."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "link", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html(example_copies: ExampleCopies, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("out") / "deep" / "report.html"
    with open_archive(example_copies, tmp_path_factory.mktemp("archive")) as archive:
        assert write_report(archive.db, "k3v9qd", path, snapshots=archive.snapshots) == path
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_it_loads_nothing_and_runs_nothing(html: str) -> None:
    page = Elements(html)
    assert page.open == []
    policy = next(attributes for tag, attributes in page.found if attributes.get("http-equiv"))
    assert (policy["content"] or "").startswith("default-src 'none'; style-src 'unsafe-inline'")
    for tag, attributes in page.found:
        assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "srcset", "style", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "@import" not in html
    assert "url(" not in html


@pytest.mark.parametrize(
    "part",
    [
        "Nothing is confirmed on unseen data yet. The best measured PGR is 0.55",
        "the human baseline is 0.23",
        'class="frontier"',
        'class="diversity"',
        "Which of the teacher&#39;s labels deserve belief",
        "└ s14 <strong>0.55</strong>",
        "MemoryError",
        "Ten principal components are enough",
        "import numpy as np",
        "limit submissions of campaign reached: 14 of 14",
        "$22",
        OFFLINE_LABEL,
        "baseline for language models to beat",
    ],
)
def test_it_tells_the_whole_story(html: str, part: str) -> None:
    assert part in html


def test_nothing_hidden_is_in_it(archive: Archive, html: str) -> None:
    for secret in (SECRET, str(PART), *archive.example.tokens.values()):
        assert secret not in html
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", html)


def test_a_campaign_in_which_nothing_happened_has_a_report_too(archive: Archive, tmp_path: Path) -> None:
    with archive.db.writing() as session:
        add_campaign(session, "empty2", 1)
    html = write_report(archive.db, "empty2", tmp_path / "r.html", snapshots=archive.snapshots).read_text()
    assert "None of them has a score" in html
    assert "No posts." in html


def test_no_campaign_no_report(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="zzz"):
        write_report(archive.db, "zzz", tmp_path / "r.html", snapshots=archive.snapshots)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_report(archive.db, "k3v9qd", tmp_path / "file" / "r.html", snapshots=archive.snapshots)
