"""The tokenizer of a corpus: a byte-level BPE trained on a sample of it, or a given tokenizer.json.

Training sees kept documents of the training split, taken by content hash up to `sample_bytes`: the
same documents whatever the number of workers. Parts are taken in the order of their digests until
they hold `POOL` times the sample, so a small sample of a huge corpus does not read all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from pipelines.config import CorpusConfig
from pipelines.kept import FINAL, KeptPart, iter_kept, read_rows
from pipelines.packing import bpe, encoding
from pipelines.packing.encoding import FAST, TokenizerError
from pipelines.packing.scatter import order_keys
from storage import commit, manifest, objects
from storage.commit import PartMarker, WrittenObject
from storage.errors import UserError
from storage.manifest import TokenizerEntry

STAGE = "tokenizer"
VERSION = 1
FILE = "tokenizer.json"
POOL = 16
MAX_DOCUMENT_BYTES = 1 << 20
"""Of one document in the training sample: one huge book must not be the sample."""
CHECK_BYTES = 1 << 20
CHECK_DOCUMENT_BYTES = 64 << 10
"""The engines are compared on many documents rather than on a few long ones."""


@dataclass(frozen=True, slots=True)
class CorpusTokenizer:
    """A tokenizer that is ready to encode."""

    tokenizer: dict[str, Any]
    """Parsed tokenizer.json."""
    engine: str
    entry: TokenizerEntry
    marker: PartMarker


@dataclass(frozen=True, slots=True)
class SampledPart:
    """The rows of a part that belong to a sample, ascending."""

    part: KeptPart
    rows: np.ndarray


def recipe_id(config: CorpusConfig, parts: list[KeptPart]) -> str:
    """Of the tokenizer: a given file by content, a trained one by its sample's inputs."""
    settings = config.tokenizer
    if settings.path:
        text = _read_given(settings.path)
        return commit.recipe_id(STAGE, VERSION, {}, [xxhash.xxh3_128_hexdigest(text.encode())])
    inputs = [digest for part in parts for digest in part.digests]
    return commit.recipe_id(STAGE, VERSION, settings.model_dump(exclude={"path"}), inputs)


def prepare(config: CorpusConfig, parts: list[KeptPart]) -> CorpusTokenizer:
    """Trains or copies `<output>/tokenizer.json` unless it is there, and chooses the engine.

    Raises TokenizerError for a file that is no tokenizer, UserError when nothing is kept.
    """
    recipe = recipe_id(config, parts)
    marker = commit.read_marker(config.output, STAGE, FILE)
    if marker is None or marker.recipe_id != recipe:
        marker = _write(config, recipe, _make(config, parts))
    text = objects.read(config.path(FILE)).decode()
    tokenizer = encoding.parse_tokenizer(text, config.path(FILE))
    engine, reason = encoding.choose_engine(tokenizer, _check_sample(config, parts))
    return CorpusTokenizer(tokenizer, engine, describe(tokenizer, engine, reason), marker)


def describe(tokenizer: dict[str, Any], engine: str, reason: str) -> TokenizerEntry:
    """What the manifest says about a tokenizer."""
    vocab_size = encoding.ordinary_vocab_size(tokenizer)
    specials = manifest.special_tokens(tokenizer)
    return TokenizerEntry(
        path=FILE,
        vocab_size=vocab_size,
        num_ids=max([vocab_size, *(number + 1 for number in specials.values())]),
        dtype=encoding.id_dtype(vocab_size).name,
        encoding_hash=manifest.encoding_hash(tokenizer),
        specials_hash=manifest.specials_hash(tokenizer),
        special_tokens=specials,
        encoder=engine if engine == FAST else f"{engine}: {reason}",
    )


def choose_sample(
    config: CorpusConfig, parts: list[KeptPart], num_bytes: int, document_bytes: int
) -> list[SampledPart]:
    """Kept training documents with the lowest order keys, up to `num_bytes` in all.

    A document counts with at most `document_bytes`. At least one document when any is kept.
    """
    pool: list[tuple[KeptPart, np.ndarray, np.ndarray, np.ndarray]] = []
    pooled = 0
    for part in sorted(parts, key=lambda part: part.digests):
        rows, keys, sizes = _candidates(config, part)
        if len(rows):
            pool.append((part, rows, keys, np.minimum(sizes, document_bytes)))
            pooled += int(pool[-1][3].sum())
        if pooled >= POOL * num_bytes:
            break
    if not pool:
        return []
    keys = np.concatenate([keys for _, _, keys, _ in pool])
    sizes = np.concatenate([sizes for *_, sizes in pool])
    by_key = np.argsort(keys, kind="stable")
    count = max(1, int(np.searchsorted(np.cumsum(sizes[by_key]), num_bytes, "right")))
    limit = keys[by_key[count - 1]]
    chosen = [SampledPart(part, rows[keys <= limit]) for part, rows, keys, _ in pool]
    return [sampled for sampled in chosen if len(sampled.rows)]


def read_sample(
    config: CorpusConfig, sample: list[SampledPart], document_bytes: int
) -> Iterator[str]:
    """The texts of a sample, each cut to `document_bytes`."""
    for sampled in sample:
        for batch in iter_kept(config, sampled.part, ["text"]):
            wanted = np.isin(batch.rows, sampled.rows)
            for text in batch.documents.column("text").filter(pa.array(wanted)):
                data = memoryview(text.as_buffer())[:document_bytes]
                yield str(data, "utf-8", "ignore")


def _candidates(config: CorpusConfig, part: KeptPart) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows, order keys, bytes) of the kept, non-empty training documents of a part."""
    final = read_rows(config, part, FINAL, ["kept", "split"])
    hashes = read_rows(config, part, "signals/hash", ["content_hash", "text_bytes"])
    sizes = hashes["text_bytes"].to_numpy().astype(np.int64)
    train = np.asarray(final["split"].to_pylist(), object) == "train"
    rows = np.flatnonzero(final["kept"].to_numpy() & train & (sizes > 0))
    keys = order_keys(hashes["content_hash"].take(rows).combine_chunks())
    return rows, keys, sizes[rows]


def _make(config: CorpusConfig, parts: list[KeptPart]) -> str:
    settings = config.tokenizer
    if settings.path:
        return check_given(settings.path)
    sample = choose_sample(config, parts, settings.sample_bytes, MAX_DOCUMENT_BYTES)
    if not sample:
        raise UserError(
            f"{config.output} keeps no document for training a tokenizer: see the reasons in "
            "decisions/, and lower the thresholds or the validation fraction"
        )
    texts = read_sample(config, sample, MAX_DOCUMENT_BYTES)
    return bpe.train(texts, settings.vocab_size, settings.min_frequency)


def check_given(path: str) -> str:
    """The text of a tokenizer.json that can encode. Raises TokenizerError."""
    text = _read_given(path)
    try:
        encoding.Encoder(encoding.parse_tokenizer(text, path), encoding.EXACT)
    except TokenizerError as error:
        raise TokenizerError(f"tokenizer.path: {error}") from error
    return text


def _read_given(path: str) -> str:
    try:
        return objects.read(path).decode("utf-8")
    except objects.ObjectNotFound as error:
        raise TokenizerError(f"tokenizer.path: {error}") from error
    except UnicodeDecodeError as error:
        raise TokenizerError(
            f"tokenizer.path: {path} is not a readable tokenizer.json: {error}"
        ) from error


def _write(config: CorpusConfig, recipe: str, text: str) -> PartMarker:
    data = text.encode()
    objects.write(config.path(FILE), data)
    size = len(json.loads(text)["model"]["vocab"])
    written = WrittenObject(FILE, STAGE, FILE, size, len(data), xxhash.xxh3_128_hexdigest(data))
    marker = PartMarker(STAGE, FILE, recipe, [written])
    commit.write_marker(config.output, marker)
    return marker


def _check_sample(config: CorpusConfig, parts: list[KeptPart]) -> pa.LargeStringArray:
    sample = choose_sample(config, parts, CHECK_BYTES, CHECK_DOCUMENT_BYTES)
    return pa.array(read_sample(config, sample, CHECK_DOCUMENT_BYTES), pa.large_string())
