"""Features of the weak teacher: the mean of static word embeddings, first 64 dimensions."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aar.problems.weak_to_strong.builder.sources import WORDLLAMA, Progress, fetch_package, read_member

TEACHER_DIMENSIONS = 64


def teacher_features(texts: Sequence[str], cache: Path, progress: Progress) -> NDArray[np.float32]:
    """Return mean-pooled WordLlama embeddings of ``texts``: float32 [n, 64].

    Raises DataMissing.
    """
    from tokenizers import Tokenizer

    archive = fetch_package(WORDLLAMA, cache, progress)
    tokenizer = Tokenizer.from_str(read_member(archive, "l2_supercat_tokenizer_config.json").decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    table = _first_tensor(read_member(archive, "l2_supercat_256.safetensors"))[:, :TEACHER_DIMENSIONS]
    pooled = np.zeros((len(texts), TEACHER_DIMENSIONS), dtype=np.float32)
    for row, encoding in enumerate(tokenizer.encode_batch(list(texts), add_special_tokens=False)):
        if encoding.ids:
            pooled[row] = table[np.minimum(encoding.ids, len(table) - 1)].astype(np.float32).mean(axis=0)
    return pooled


def _first_tensor(packed: bytes) -> NDArray[np.float16]:
    """Return the only tensor of a safetensors file.

    The file is an 8-byte header length, a JSON header, then raw values.
    """
    (length,) = struct.unpack("<Q", packed[:8])
    header = json.loads(packed[8 : 8 + length])
    entry = next(value for name, value in header.items() if name != "__metadata__")
    start, end = entry["data_offsets"]
    assert entry["dtype"] == "F16", entry
    values = np.frombuffer(packed[8 + length + start : 8 + length + end], dtype="<f2")
    return values.reshape(entry["shape"]).astype(np.float16)
