"""Embeddings by a Hugging Face model: the mean of its last layer over the tokens of a text.

What sentence models of the BERT family are trained for (Reimers and Gurevych, arXiv:1908.10084).
The model is a folder on local disk: config, tokenizer, safetensors. Nothing is downloaded, and no
code of the folder is run.

A text's vector must not depend on its neighbours, though they fill one batch with it. So the shape
of a batch depends on nothing but its own lengths: texts are padded to the next multiple of 32
tokens, and a batch has as many rows as make 2,048 tokens, empty ones if need be. Then each row goes
through the same instructions wherever it stands. Batches of one length are also fast batches.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from storage.errors import ConfigError

CHARS_PER_TOKEN = 16
"""Of a text, the first so many characters for each token wanted are looked at."""
LENGTH_STEP = 32
BATCH_TOKENS = 2048
MAX_REASON_CHARS = 300
MODEL_SUFFIXES = (".json", ".model", ".safetensors", ".txt")
"""Of the files that decide what a model computes."""


class SentenceModel:
    """A loaded model; made in the process that uses it."""

    def __init__(self, folder: str, max_tokens: int) -> None:
        """Raises ConfigError for a folder that is no usable model."""
        from safetensors import SafetensorError
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        check(folder, max_tokens)
        logging.disable_progress_bar()
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **options)
            model = AutoModel.from_pretrained(folder, use_safetensors=True, **options)
        except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:MAX_REASON_CHARS]
            raise ConfigError(
                f"dedup.semantic.model: {folder} cannot be loaded: {reason}"
            ) from error
        self._model = model.float().eval()
        self._max_tokens = max_tokens
        self._dimensions = dimensions(folder)

    def embed(self, batch: pa.RecordBatch) -> npt.NDArray[np.float32]:
        """Mean-pooled float32[rows, dimensions] of `text`; zeros for a text without tokens."""
        vectors = np.zeros((batch.num_rows, self._dimensions), np.float32)
        tokens = self._tokens(batch.column("text"))
        padded = np.array([self._padded(len(ids)) for ids in tokens], np.int64)
        for length in np.unique(padded[padded > 0]).tolist():
            rows = np.flatnonzero(padded == length)
            size = max(1, BATCH_TOKENS // length)
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                vectors[some] = self._run([tokens[row] for row in some], size, length)
        return vectors

    def _tokens(self, text: pa.Array) -> list[list[int]]:
        """Ids of each text with the model's own first and last token; none for an empty text."""
        most = CHARS_PER_TOKEN * self._max_tokens
        options = pc.SliceOptions(0, most)
        starts = pc.call_function("utf8_slice_codeunits", [text.fill_null("")], options)
        if len(starts) == 0:
            return []
        encoded = self._tokenizer(
            starts.to_pylist(),
            truncation=True,
            max_length=self._max_tokens,
            return_attention_mask=False,
            return_special_tokens_mask=True,
        )
        rows = zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)
        return [[] if all(special) else ids for ids, special in rows]

    def _padded(self, length: int) -> int:
        return min(-(-length // LENGTH_STEP) * LENGTH_STEP, self._max_tokens)

    def _run(self, tokens: list[list[int]], size: int, length: int) -> npt.NDArray[np.float32]:
        """The vectors of at most `size` texts of at most `length` tokens."""
        import torch

        ids = torch.zeros((size, length), dtype=torch.long)
        mask = torch.zeros((size, length), dtype=torch.long)
        mask[:, 0] = 1  # an empty row attends to something, or it would be nan
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = torch.tensor(one)
            mask[row, : len(one)] = 1
        with torch.inference_mode(), _one_thread():
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            means = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        return means[: len(tokens)].numpy()


@cache
def load(folder: str, max_tokens: int) -> SentenceModel:
    """The model, loaded once in a process."""
    return SentenceModel(folder, max_tokens)


def check(folder: str, max_tokens: int) -> None:
    """Raises ConfigError when a model cannot be used; reads its config only."""
    settings = _config(folder)
    if not list(Path(folder).glob("*.safetensors")):
        raise ConfigError(
            f"dedup.semantic.model: {folder} has no .safetensors; save the model with "
            "save_pretrained, which writes one"
        )
    if settings.get("is_encoder_decoder"):
        raise ConfigError(
            f"dedup.semantic.model: {folder} is an encoder-decoder; use `dedup.semantic.function`"
        )
    longest = settings.get("max_position_embeddings")
    if isinstance(longest, int) and max_tokens > longest:
        raise ConfigError(
            f"dedup.semantic.max_tokens = {max_tokens}: {folder} has positions for {longest}"
        )


def dimensions(folder: str) -> int:
    """Length of the vectors of a model."""
    size = _config(folder).get("hidden_size")
    if not isinstance(size, int):
        raise ConfigError(
            f"dedup.semantic.model: config.json of {folder} has no hidden_size; "
            "use `dedup.semantic.function`"
        )
    return size


@cache
def digest(folder: str) -> str:
    """Hash of the files of a model: a moved model is the same model."""
    total = xxhash.xxh3_128()
    for path in sorted(Path(folder).iterdir()):
        if path.is_file() and path.suffix in MODEL_SUFFIXES:
            with path.open("rb") as file:
                one = xxhash.xxh3_128()
                while data := file.read(1 << 24):
                    one.update(data)
            total.update(f"{path.name} {one.hexdigest()}\n".encode())
    return total.hexdigest()


def _config(folder: str) -> dict[str, Any]:
    try:
        return json.loads((Path(folder) / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"dedup.semantic.model: {folder} is no folder of a Hugging Face model: config.json: "
            f"{reason}"
        ) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    """Workers are one per core already."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
