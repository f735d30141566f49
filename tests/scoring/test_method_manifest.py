from __future__ import annotations

from pathlib import Path

import pytest

from aar.errors import UsageError
from aar.scoring import method_manifest as manifest_module
from aar.scoring.method_manifest import MAX_BYTES, MAX_CLAIM, MAX_HYPOTHESIS, MAX_TITLE, read_manifest

GOOD = "title: Vote of probes\nclaim: Three probes vote.\nfamilies: [ensemble, data filtering]\nparent: s3\n"


def method(tmp_path: Path, manifest: str | bytes | None, run: bool = True) -> Path:
    if run:
        (tmp_path / "run.py").write_text("pass\n")
    if manifest is not None:
        content = manifest.encode() if isinstance(manifest, str) else manifest
        (tmp_path / "method.yaml").write_bytes(content)
    return tmp_path


def test_a_good_manifest_is_read_and_families_are_spelt_one_way(tmp_path: Path) -> None:
    manifest = read_manifest(method(tmp_path, GOOD))
    assert manifest.title == "Vote of probes"
    assert manifest.families == ["ensemble", "data-filtering"]
    assert manifest.parent == "s3"


def test_a_folded_claim_becomes_one_paragraph(tmp_path: Path) -> None:
    text = "title: T\nclaim: |\n  One.\n\n  Two.\nfamilies: [other]\n"
    assert read_manifest(method(tmp_path, text)).claim == "One. Two."


def test_characters_that_nothing_stores_are_replaced(tmp_path: Path) -> None:
    text = 'title: "half \\ud83d"\nclaim: "a zero \\0 in it"\nfamilies: [other]\n'
    manifest = read_manifest(method(tmp_path, text))
    assert (manifest.title, manifest.claim) == ("half \ufffd", "a zero \ufffd in it")


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ("claim: c\nfamilies: [other]", "title is missing"),
        ("title: ''\nclaim: c\nfamilies: [other]", "title is empty"),
        ("title: t\nclaim: c\nfamilies: []", "families is empty"),
        (f"title: {'x' * 500}\nclaim: c\nfamilies: [other]", f"title has 500 characters, at most {MAX_TITLE}"),
        (
            f"title: t\nclaim: c\nhypothesis: {'x' * 1001}\nfamilies: [other]",
            f"hypothesis has 1001 characters, at most {MAX_HYPOTHESIS}",
        ),
        (f"title: t\nclaim: {'x' * 3000}\nfamilies: [other]", f"claim has 3000 characters, at most {MAX_CLAIM}"),
        ("title: t\nclaim: c\nfamilies: [self-trainig]", "did you mean self-training?"),
        ("title: t\nclaim: c\nfamilies: [zzz]", "known: self-training, ensemble"),
        ("title: t\nclaim: c\nfamilies: ensemble", "families: Input should be a valid list"),
        ("title: t\nclaim: c\nfamilies: [other]\nclaims: d", "unknown field 'claims'; did you mean claim?"),
        ("title: [t]\nclaim: c\nfamilies: [other]", "title: Input should be a valid string"),
        ("claim: c\ntitle: a: b: c", "line 2: it is not YAML"),
        ("- just\n- a list", "has no fields"),
        ("", "has no fields"),
        ("[" * 20_000, "line 1: it is nested too deep: got more than 30 levels"),
        (b"title: \xff\xfe", "is not UTF-8"),
        (b"title: \x00", "is not YAML"),
        ("title: t\nclaim: c\ntitle: u\nfamilies: [other]", "line 3: title is written twice: got it on line 1 too"),
        ("title: 12:30\nclaim: c\nfamilies: [other]", "line 1: 12:30 is a number in base 60"),
        ("title: t\nclaim: c\nfamilies: [other]\nparent: 0123456", "line 4: 0123456 begins with a zero"),
        ("title: t\nclaim: c\nfamilies: [other]\nparent: 0x12", "line 4: 0x12 is in another base"),
        ("title: 2026-13-45\nclaim: c\nfamilies: [other]", "is not YAML"),
        ("x" * (MAX_BYTES + 1), "bytes, expected at most"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, manifest: str | bytes, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_manifest(method(tmp_path, manifest))
    assert says in str(raised.value)
    assert "method.yaml" in str(raised.value)


def test_a_missing_entry_point_or_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run\.py"):
        read_manifest(method(tmp_path, GOOD, run=False))
    (tmp_path / "run.py").write_text("")
    (tmp_path / "method.yaml").unlink()
    with pytest.raises(UsageError, match=r"no method\.yaml"):
        read_manifest(tmp_path)


def test_links_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(GOOD)
    directory = tmp_path / "m"
    directory.mkdir()
    (directory / "run.py").write_text("")
    (directory / "method.yaml").symlink_to(secret)
    with pytest.raises(UsageError, match="not a regular file"):
        read_manifest(directory)


def test_a_manifest_that_takes_too_long_to_read_is_refused_and_nothing_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.py").touch()
    (tmp_path / "method.yaml").write_text("title: t\n" + "claim: [a, b]\n" * 4000)
    monkeypatch.setattr(manifest_module, "_SECONDS", 0.001)
    with pytest.raises(UsageError, match="cannot be read within its limits"):
        read_manifest(tmp_path)
