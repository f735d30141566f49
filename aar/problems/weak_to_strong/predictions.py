"""Reader of a method's output file, which is untrusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from aar.problems.protocol import OutputRejected


def read_predictions(path: Path, items: int, limit: int) -> NDArray[np.bool_]:
    """Read predicted classes from a ``.npy`` file of P(class 1) or 0/1.

    Args:
        path: the output file.
        items: expected number of predictions.
        limit: bytes the file may have.

    Returns:
        True where class 1 is predicted (above one half): bool [items].

    Raises:
        OutputRejected: the file cannot be scored; the text is for the researcher.
    """
    if path.is_symlink() or not path.is_file():
        raise OutputRejected("the method wrote no output file: write an array of predictions to the path of --out")
    if path.stat().st_size > limit:
        raise OutputRejected(f"the output file has {path.stat().st_size:,} bytes; {limit:,} are allowed")
    with path.open("rb") as file:
        try:
            version = npy.read_magic(file)
            header = npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
        except (ValueError, EOFError, TypeError, SyntaxError, OverflowError, MemoryError) as error:
            raise OutputRejected("the output file is not an array written by numpy.save to a .npy file") from error
        shape, _, dtype = header
        if dtype.hasobject or dtype.kind not in "buif":
            raise OutputRejected(f"the output array holds {dtype}; booleans, integers or floats are expected")
        if shape != (items,):
            raise OutputRejected(f"the output array has shape {shape}; ({items},) is expected, one value a test item")
        content = file.read()
    if len(content) != items * dtype.itemsize:
        raise OutputRejected("the output file is cut short or has bytes after its array")
    values = np.frombuffer(content, dtype=dtype).astype(np.float64)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise OutputRejected(f"{bad} of {items} predictions are NaN or infinite")
    if values.min(initial=0.0) < 0 or values.max(initial=0.0) > 1:
        raise OutputRejected(
            f"predictions range from {values.min():.3g} to {values.max():.3g}; P(class 1) between 0 and 1 is expected"
        )
    return np.asarray(values > 0.5, dtype=np.bool_)
