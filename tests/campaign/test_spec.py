"""Reading specs: what holds is read, what does not is named with the nearest right thing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from aar.campaign.spec import load_spec
from aar.errors import SpecError


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    return tmp_path / "campaign.yaml"


def test_no_file_gives_the_quick_campaign() -> None:
    spec = load_spec(None)
    assert (spec.problem, spec.researchers.count, spec.directions.deal) == ("weak_to_strong", 4, "distinct")
    assert spec.limits.usd == Decimal(5)


def test_flags_win_over_the_file(spec_file: Path) -> None:
    spec_file.write_text("name: night\nlimits: {usd: 20, hours: 8}\nresearchers: {count: 9}\n")
    spec = load_spec(spec_file, {"limits.usd": "3.50", "researchers.model": "claude-haiku-5-5"})
    assert (spec.name, spec.limits.usd, spec.limits.hours) == ("night", Decimal("3.50"), 8)
    assert (spec.researchers.count, spec.researchers.model) == (9, "claude-haiku-5-5")


def test_a_flag_alone_keeps_the_quick_campaigns_other_limits() -> None:
    quick = load_spec(None).limits
    changed = load_spec(None, {"limits.usd": 1}).limits
    assert (changed.usd, changed.hours, changed.submissions) == (Decimal(1), quick.hours, quick.submissions)


def test_a_directions_file_is_looked_for_beside_the_spec(spec_file: Path) -> None:
    spec_file.write_text("directions: {file: mine.yaml}\n")
    assert load_spec(spec_file).directions.file == str(spec_file.parent / "mine.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("limts: {usd: 3}", "no field limts; did you mean limits?"),
        ("limits: {usdd: 3}", "no field limits.usdd; did you mean usd?"),
        ("limits: {researcher: {token: 3}}", "no field limits.researcher.token; did you mean tokens?"),
        ("limits: {usd: -3}", "limits.usd: input should be greater than or equal to 0 (got -3)"),
        ("researchers: {overrides: {1: {modle: x}}}", "did you mean model?"),
        ("researchers: {overrides: {7: {model: x}}}", "overrides names researcher 7, but there are 4"),
        ("directions: {deal: named}", "deal: named needs names"),
        ("- a", "is invalid: got a list, expected fields"),
        ("a: [", "is not YAML"),
        ("limits: 3", "limits: "),
        ("researchers: {count: yes}", "researchers.count: input should be a number, got a yes or no"),
        ("limits: {hours: on}", "limits.hours: input should be a number"),
        ("limits: {usd: 1e400}", "limits.usd: input should be at most 1,000,000,000"),
        ("limits: {researcher: {tokens: 99999999999999999999}}", "tokens: input should be at most 9,223,372,036"),
        ("sandbox: {command_seconds: 1.0e+300}", "command_seconds: input should be at most"),
        ('name: "two\\nlines"', "name: input should be one line without control characters"),
        ("name: a\0b", "is not YAML: unacceptable character"),
    ],
)
def test_what_does_not_hold_is_named(spec_file: Path, text: str, says: str) -> None:
    spec_file.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(spec_file)
    assert says in caught.value.message
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no spec file"):
        load_spec(tmp_path / "absent.yaml")


@pytest.mark.parametrize("login", ["ana:never-to-be-seen@", "never-to-be-seen@"])
def test_an_address_with_a_login_is_refused_and_not_quoted(spec_file: Path, login: str) -> None:
    spec_file.write_text(f"researchers: {{base_url: 'https://{login}models.example/v1'}}\n")
    with pytest.raises(SpecError, match="base_url contains a user name or a password") as caught:
        load_spec(spec_file)
    assert "never" not in str(caught.value)
    spec_file.write_text(f"researchers: {{base_url: 'https://{login}models.example:port/v1'}}\n")
    with pytest.raises(SpecError, match="invalid server address") as caught:
        load_spec(spec_file)
    assert "never" not in str(caught.value)
    spec_file.write_text("researchers: {base_url: 'https://models.example/v1/@team'}\n")
    assert load_spec(spec_file).researchers.base_url == "https://models.example/v1/@team"


@pytest.mark.parametrize(
    ("text", "line", "says", "remedy"),
    [
        (
            "name: a\nlimits: {usd: 1}\nlimits: {usd: 9}\n",
            3,
            "limits is written twice: got it on line 2 too",
            "Remove one",
        ),
        ("limits:\n  usd: 3\n  hours: 1:30\n", 3, "1:30 is a number in base 60", "Write it out"),
        ("limits:\n  usd: 010\n", 2, "010 begins with a zero, which makes it octal", "Leave the zero out"),
        ("limits:\n  submissions: 0x10\n", 2, "0x10 is in another base", "Write it out"),
        ("name: a\nprices: " + "[" * 40, 2, "nested too deep: got more than 30 levels", "Flatten"),
        ("a: &a {b: *a}\n", 1, "an anchor contains itself", "Write the value out"),
        ("name: a\nresearchers:\n  base_url: not a url\n", 3, "base_url: invalid server address", "spec example"),
        ("researchers:\n  base_url: gateway.example/v1\n", 2, "invalid server address", "spec example"),
        (
            "name: a\ndatabase: my database\n",
            2,
            "database: database URL is invalid; Write sqlite:///FILE",
            "spec example",
        ),
        ("name: a\n\nlimits: {usdd: 3}\n", 3, "no field limits.usdd; did you mean usd?", "spec example"),
        ("name: a\nb: [\n", 3, "is not YAML", "spec example"),
    ],
)
def test_what_could_be_taken_otherwise_is_refused_with_its_line(
    spec_file: Path, text: str, line: int, says: str, remedy: str
) -> None:
    spec_file.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(spec_file)
    assert caught.value.message.startswith(f"{spec_file}, line {line}: ")
    assert says in caught.value.message
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_anchors_that_stand_for_far_more_than_is_written_are_refused(spec_file: Path) -> None:
    rows = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 8))]
    spec_file.write_text("\n".join(rows))
    with pytest.raises(SpecError, match="it is too large: got more than 50,000 values"):
        load_spec(spec_file)


def test_what_is_meant_holds(spec_file: Path) -> None:
    spec_file.write_text(
        "name: '1:30'\nlimits: &own {usd: 0.5, hours: 1e-1, submissions: 1_000}\nprices: {}\n"
        "researchers: {base_url: 'http://[::1]:8080/v1'}\nscoring: {noise_levels: [0.2, 0.4]}\nseed: 0\n"
        "database: postgresql+psycopg://me@localhost/aar\n"
    )
    spec = load_spec(spec_file)
    assert (spec.name, spec.limits.submissions, spec.seed) == ("1:30", 1000, 0)
    assert spec.researchers.base_url == "http://[::1]:8080/v1"


def test_a_flag_that_does_not_hold_names_no_line(spec_file: Path) -> None:
    spec_file.write_text("limits: {usd: 3}\n")
    with pytest.raises(SpecError, match=rf"^{spec_file}: limits\.usd"):
        load_spec(spec_file, {"limits.usd": -1})


def test_no_password_of_a_database_is_quoted(spec_file: Path) -> None:
    spec_file.write_text("database: postgres//me:s3cretword@host/x\n")
    with pytest.raises(SpecError) as caught:
        load_spec(spec_file)
    assert "s3cretword" not in str(caught.value)
