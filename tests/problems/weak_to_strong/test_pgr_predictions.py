"""A method's output is read without trusting it, and a refusal says what was wrong."""

from __future__ import annotations

import contextlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.problems.protocol import OutputRejected
from aar.problems.weak_to_strong.pgr import read_predictions

ITEMS, LIMIT = 7, 4096


def npy(array: Any, *, pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def header(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


class Boom:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float32, np.float64, ">f4"])
def test_reads_any_plain_number(tmp_path: Path, dtype: Any) -> None:
    expected = [True, False, True, True, False, False, True]
    (tmp_path / "out").write_bytes(npy(np.array(expected).astype(dtype)))
    assert read_predictions(tmp_path / "out", ITEMS, LIMIT).tolist() == expected


def test_exactly_one_half_is_class_0(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(npy(np.array([0.5, 0.51, 0, 1, 0.49, 0.5, 1])))
    assert read_predictions(tmp_path / "out", ITEMS, LIMIT).tolist() == [0, 1, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "numpy.save"),
        (b"0.1\n0.2\n", "numpy.save"),
        (npy(np.zeros(6)), r"shape \(6,\)"),
        (npy(np.zeros((7, 1))), r"shape \(7, 1\)"),
        (npy(np.zeros(())), "shape"),
        (npy(np.array([Boom()] * 7, dtype=object), pickled=True), "holds object"),
        (pickle.dumps([0.5] * 7), "numpy.save"),
        (npy(np.zeros(7, dtype="U3")), "holds"),
        (npy(np.zeros(7, dtype=complex)), "holds complex"),
        (npy(np.array([0, 1, np.nan, 1, 0, np.inf, 1])), "2 of 7 predictions are NaN"),
        (npy(np.array([0, 1, -3.5, 1, 0, 2, 1])), "range from -3.5 to 2"),
        (npy(np.zeros(7))[:-3], "cut short"),
        (npy(np.zeros(7)) + b"x", "bytes after"),
        (header("(99999999999999,)"), "shape"),
        (header("(7,)"), "cut short"),
        (header("(__import__('os').getpid(),)"), "numpy.save"),
        (b"\x93NUMPY\x09\x00" + npy(np.zeros(7))[8:], "numpy.save"),
        (npy(np.zeros(1000)), "4,096 are allowed"),
    ],
)
def test_refuses_and_says_why(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "out").write_bytes(content)
    with pytest.raises(OutputRejected, match=said):
        read_predictions(tmp_path / "out", ITEMS, LIMIT)


@given(st.binary(max_size=300))
def test_no_bytes_do_worse_than_be_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-bytes"
    for prefix in (b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00", header("(7,)")):
        path.write_bytes(prefix + content)
        with contextlib.suppress(OutputRejected):
            assert len(read_predictions(path, ITEMS, LIMIT)) == ITEMS
