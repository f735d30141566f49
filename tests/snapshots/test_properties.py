"""A snapshot is its content, and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.errors import TransferRefused
from aar.snapshots.store import FileEntry, SnapshotStore, check_name, decode_manifest, encode_manifest, manifest_digest

_part = st.text(st.characters(categories=["L", "N"], include_characters=" .-_'"), min_size=1, max_size=12).filter(
    lambda part: part not in (".", "..")
)
_name = st.lists(_part, min_size=1, max_size=3).map("/".join)
_files = st.dictionaries(_name, st.tuples(st.binary(max_size=300), st.booleans()), max_size=8).filter(
    lambda files: not any(other.startswith(name + "/") for name in files for other in files)
)
_entries = st.lists(
    st.builds(
        FileEntry, _name, st.booleans(), st.integers(0, 10**9), st.binary(min_size=32, max_size=32).map(bytes.hex)
    ),
    unique_by=lambda entry: entry.name,
)

Files = dict[str, tuple[bytes, bool]]


def lay(folder: Path, files: Iterable[tuple[str, tuple[bytes, bool]]]) -> Path:
    for name, (content, runs) in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o700 if runs else 0o600)
    folder.mkdir(exist_ok=True)
    return folder


@settings(max_examples=40, deadline=None)
@given(_files, st.randoms(use_true_random=False))
def test_round_trip_and_independence_of_order_place_and_store(files: Files, random: object) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        shuffled = list(files.items())
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        one, two = SnapshotStore(root / "one"), SnapshotStore(root / "two")
        saved = one.save(lay(root / "a", files.items()))
        assert two.save(lay(root / "b", shuffled)) == saved
        assert (saved.files, saved.size_bytes) == (len(files), sum(len(content) for content, _ in files.values()))
        assert one.read_files(saved.digest) == {name: content for name, (content, _) in files.items()}
        one.materialise(saved.digest, root / "copy" / "deep")
        assert one.save(root / "copy" / "deep") == saved
        assert not list((root / "one" / "incoming").iterdir())


@settings(max_examples=40, deadline=None)
@given(_files.filter(bool), st.data())
def test_any_change_changes_the_digest(files: Files, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(files)))
    content, runs = files[name]
    changed = data.draw(st.sampled_from([(content + b"x", runs), (content, not runs), None]))
    others = {other: files[other] for other in files if other != name}
    with tempfile.TemporaryDirectory() as scratch:
        store = SnapshotStore(Path(scratch) / "store")
        before = store.save(lay(Path(scratch) / "a", files.items())).digest
        after = store.save(lay(Path(scratch) / "b", (others | ({name: changed} if changed else {})).items())).digest
    assert before != after


@given(_entries, st.randoms(use_true_random=False))
def test_a_manifest_has_one_form(entries: list[FileEntry], random: object) -> None:
    manifest = encode_manifest(entries)
    random.shuffle(entries)  # type: ignore[attr-defined]
    assert encode_manifest(entries) == manifest
    assert sorted(decode_manifest(manifest_digest(manifest), manifest), key=repr) == sorted(entries, key=repr)


@given(st.text(st.characters(exclude_categories=[]), max_size=60))
def test_an_accepted_name_stays_below_its_root(name: str) -> None:
    try:
        accepted = check_name(name)
    except TransferRefused:
        return
    assert accepted == name
    assert Path("/root", accepted).is_relative_to("/root")
    assert ".." not in Path(accepted).parts


@pytest.mark.parametrize(
    "name",
    ["", "/", "/etc/passwd", "..", "../x", "a/../b", "a//b", "./a", "a/", "a\\b", "a\nb", "a\0b", "\udc80", "x" * 2000],
)
def test_names_that_leave_or_mislead_are_refused(name: str) -> None:
    with pytest.raises(TransferRefused):
        check_name(name)
    manifest = encode_manifest([]).replace(b"[]", b'[["../x",false,0,"00"]]')
    with pytest.raises(TransferRefused):
        decode_manifest(manifest_digest(manifest), manifest)
