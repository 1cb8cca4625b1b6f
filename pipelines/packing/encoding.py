"""Text to token ids: batches of documents in, one flat array out.

Two engines give the same ids: `fastokens` (about 100 MB/s a core) and `tokenizers` (about 2 MB/s).
`choose_engine` compares them on real documents and takes the fast one only when they agree.

Control tokens are never produced. The encoder works on a copy of tokenizer.json without its special
added tokens, so the text `<|endoftext|>` is text, and what a model's own vocabulary holds under the
name of a control token is put out of reach by renaming it.

A huge document is encoded in pieces of `PIECE_BYTES`, so that memory stays bounded. A cut is put
between a letter or digit and a space (or a newline or a bracket), where the pre-tokenizers in use
(GPT-2, cl100k, o200k, Qwen, BERT, Metaspace) cut in any case: the ids are those of the whole text.
Text without such a place in `CUT_WINDOW_BYTES` is cut at the end of the piece: at worst the two
words that touch the cut are encoded in another way, the same way on every run.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash

from storage import manifest
from storage.errors import ConfigError

logger = logging.getLogger(__name__)

FAST, EXACT = "fastokens", "tokenizers"
PIECE_BYTES = 1 << 20
CUT_WINDOW_BYTES = 1 << 16
BATCH_BYTES = 8 << 20
PARALLELISM = {
    "TOKENIZERS_PARALLELISM": "false",
    "RAYON_NUM_THREADS": "1",
    "FASTOKENS_BPE_THREADS": "1",
}
"""A worker process encodes on one core; the runner has one worker per core."""

_SAFE_CUTS = (
    re.compile(r".*[^\W_](?= )", re.DOTALL),
    re.compile(r".*[^\W_](?=[\n(\[{;!?\u3001\u3002\uff0c\uff01\uff1f\uff1b])", re.DOTALL),
)

EncodeBatch = Callable[[list[str]], tuple[np.ndarray, np.ndarray]]
"""texts -> (ids uint32 [num_ids], offsets int64 [num_texts + 1])."""


class Tokens(NamedTuple):
    """Documents' ids one after another, uint16 or uint32 [num_tokens], and int64 [num_docs]."""

    ids: np.ndarray
    lengths: np.ndarray


class TokenizerError(ConfigError):
    """A tokenizer that cannot be read or used."""


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """The narrowest of uint16 and uint32 that holds ids below `vocab_size`."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def parse_tokenizer(text: str, place: str) -> dict[str, Any]:
    """A tokenizer.json as a dictionary. Raises TokenizerError naming `place`."""
    try:
        tokenizer = json.loads(text)
        manifest.encoding_hash(tokenizer)
        ordinary_vocab_size(tokenizer)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise TokenizerError(f"{place} is not a readable tokenizer.json: {error!r}") from error
    return tokenizer


def ordinary_vocab_size(tokenizer: dict[str, Any]) -> int:
    """One more than the largest id that ordinary text can encode to."""
    specials = manifest.special_tokens(tokenizer)
    ids = [number for token, number in manifest.vocabulary(tokenizer).items()
           if token not in specials]  # fmt: skip
    ids += [token["id"] for token in tokenizer.get("added_tokens") or []
            if token["content"] not in specials]  # fmt: skip
    return max(ids, default=-1) + 1


def encoding_copy(tokenizer: dict[str, Any]) -> str:
    """tokenizer.json for encoding ordinary text: no control tokens, template, cut or chance."""
    specials = manifest.special_tokens(tokenizer)
    added = tokenizer.get("added_tokens") or []
    model = {key: value for key, value in tokenizer["model"].items() if key != "dropout"}
    changed = {
        "added_tokens": [token for token in added if token["content"] not in specials],
        "post_processor": None,
        "truncation": None,
        "padding": None,
        "model": _hide(model, specials),
    }
    return json.dumps(tokenizer | changed, ensure_ascii=False)


class Encoder:
    """Encodes documents with one engine.

    `tokenizer` is a parsed tokenizer.json. Raises TokenizerError when the engine refuses it.
    """

    def __init__(self, tokenizer: dict[str, Any], engine: str) -> None:
        for name, value in PARALLELISM.items():
            os.environ.setdefault(name, value)
        vocab_size = ordinary_vocab_size(tokenizer)
        self.dtype = id_dtype(vocab_size)
        self._encode_batch = _load_engine(encoding_copy(tokenizer), engine)
        specials = manifest.special_tokens(tokenizer).values()
        self._controls = np.array([one for one in specials if one < vocab_size], np.uint32)

    def encode(self, texts: pa.LargeStringArray) -> Tokens:
        """Ids of every document of a batch, in order. Releases the GIL while encoding."""
        ids: list[np.ndarray] = []
        lengths = np.zeros(len(texts), np.int64)
        for pieces, owners in _batches(texts):
            batch_ids, offsets = self._encode_batch(pieces)
            self._check(batch_ids)
            np.add.at(lengths, owners, np.diff(offsets))
            ids.append(batch_ids.astype(self.dtype))
        return Tokens(np.concatenate(ids) if ids else np.empty(0, self.dtype), lengths)

    def _check(self, ids: np.ndarray) -> None:
        if len(self._controls) and np.isin(ids, self._controls).any():
            raise TokenizerError("a document's text encodes to a control token of the tokenizer")


def choose_engine(tokenizer: dict[str, Any], sample: pa.LargeStringArray) -> tuple[str, str]:
    """(engine, reason): fastokens when its ids of `sample` equal those of tokenizers.

    The reason is empty for the fast engine. Raises TokenizerError when neither can be used.
    """
    expected = Encoder(tokenizer, EXACT).encode(sample)
    if not len(sample):
        return EXACT, "there is no document to compare the engines on"
    try:
        found = Encoder(tokenizer, FAST).encode(sample)
    except TokenizerError as error:
        reason = f"{FAST} cannot use this tokenizer ({error})"
    else:
        same = np.array_equal(expected.lengths, found.lengths)
        if same and np.array_equal(expected.ids, found.ids):
            return FAST, ""
        reason = f"{FAST} differs from {EXACT} on a sample of {len(sample)} documents"
    logger.warning("encoding with %s, which is slower: %s", EXACT, reason)
    return EXACT, reason


def split_text(data: memoryview, piece_bytes: int = PIECE_BYTES) -> Iterator[str]:
    """Cuts UTF-8 into strings of at most `piece_bytes`; joined they are the text again."""
    start = 0
    while len(data) - start > piece_bytes:
        end = start + _cut(data[start : start + piece_bytes])
        yield str(data[start:end], "utf-8")
        start = end
    yield str(data[start:], "utf-8")


def _cut(piece: memoryview) -> int:
    """Where to end a piece: bytes from its start."""
    end = len(piece)
    while end > 0 and piece[end - 1] & 0xC0 == 0x80:
        end -= 1
    end -= 1  # the last character may be incomplete, and decides whether a cut before it is safe
    low = max(0, end - CUT_WINDOW_BYTES)
    while low < end and piece[low] & 0xC0 == 0x80:
        low += 1
    window = str(piece[low:end], "utf-8")
    for safe in _SAFE_CUTS:
        match = safe.match(window)
        if match:
            return low + len(match.group().encode())
    return end


def _batches(texts: pa.LargeStringArray) -> Iterator[tuple[list[str], np.ndarray]]:
    """(pieces, row of each piece) of at most about BATCH_BYTES."""
    pieces: list[str] = []
    owners: list[int] = []
    num_chars = 0
    for row, text in enumerate(texts):
        for piece in split_text(memoryview(text.as_buffer())):
            pieces.append(piece)
            owners.append(row)
            num_chars += len(piece)
            if num_chars >= BATCH_BYTES:
                yield pieces, np.array(owners)
                pieces, owners, num_chars = [], [], 0
    if pieces:
        yield pieces, np.array(owners)


def _load_engine(text: str, engine: str) -> EncodeBatch:
    assert engine in (FAST, EXACT), engine
    with _one_line(f"{engine} cannot load the tokenizer"):
        run = _load_fast(text) if engine == FAST else _load_exact(text)

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        with _one_line(f"{engine} cannot encode a document"):
            return run(texts)

    return encode


@contextmanager
def _one_line(message: str) -> Iterator[None]:
    """Turns an error of a library into a TokenizerError: both raise bare Exceptions from Rust."""
    try:
        yield
    except Exception as error:
        raise TokenizerError(f"{message}: {' '.join(str(error).split())[:300]}") from error


def _load_fast(text: str) -> EncodeBatch:
    import fastokens

    tokenizer = fastokens.Tokenizer.from_json_str(text)

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        ids, offsets = tokenizer.encode_batch_flat(texts)
        return np.frombuffer(ids, "<u4"), np.frombuffer(offsets, "<u8").astype(np.int64)

    return encode


def _load_exact(text: str) -> EncodeBatch:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(text)

    def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        rows = [np.array(encoding.ids, np.uint32) for encoding in encodings]
        offsets = np.cumsum([0] + [len(row) for row in rows])
        return np.concatenate(rows), offsets

    return encode


def _hide(model: dict[str, Any], specials: dict[str, int]) -> dict[str, Any]:
    """A model whose control tokens are renamed and whose merges do not make them."""

    def rename(token: str) -> str:
        return _unreachable(token) if token in specials else token

    vocab = model["vocab"]
    if isinstance(vocab, list):
        changed: dict[str, Any] = {"vocab": [[rename(token), score] for token, score in vocab]}
    else:
        changed = {"vocab": {rename(token): number for token, number in vocab.items()}}
    if "merges" in model:
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        changed["merges"] = [
            [left, right]
            for left, right in pairs
            if not {left, right, left + right} & specials.keys()
        ]
    return model | changed


def _unreachable(token: str) -> str:
    """A name that no text is expected to hold; `Encoder` checks that none does."""
    return f"\0control-{xxhash.xxh3_128_hexdigest(token.encode())}"
