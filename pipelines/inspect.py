"""`tilth inspect`: what is in a table, a shard, a manifest or a folder, as text for a terminal.

What documents and file names hold is data: control characters, terminal escapes and marks that
reorder text are shown as escapes, never sent to the terminal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from storage import manifest, objects, shards, tables
from storage.backend import printable
from storage.errors import UserError
from storage.manifest import CorpusManifest, load_manifest
from storage.objects import ObjectNotFound, StorageError
from storage.shards import Block

MAX_VALUE_CHARS = 200
SAMPLE_TOKENS = 100
MAX_LISTED = 30


def describe(path: str, rows: int = 3) -> str:
    """Schema, numbers and `rows` samples of what is at `path`. Raises StorageError, UserError."""
    if not objects.exists(path):
        lines = _describe_folder(path.rstrip("/"), rows)
    elif path.endswith(".parquet"):
        lines = _describe_table(path, rows)
    elif path.endswith(".tar"):
        lines = _describe_shard(path, rows)
    elif path.endswith(".blocks.npy"):
        lines = _describe_blocks(path, rows)
    elif path.endswith(".json"):
        lines = _describe_json(path)
    else:
        raise UserError(
            f"{printable(path)}: inspect reads .parquet tables, .tar shards, .blocks.npy, "
            "manifest.json and folders of them"
        )
    return "\n".join(lines)


def show(value: Any) -> str:
    """A value on one line, cut to MAX_VALUE_CHARS, safe for a terminal."""
    if isinstance(value, bytes):
        text = value[:MAX_VALUE_CHARS].hex()
    elif isinstance(value, str):
        text = json.dumps(value[: MAX_VALUE_CHARS + 1], ensure_ascii=False)
    elif isinstance(value, list):
        text = str(value[:MAX_VALUE_CHARS])
    else:
        text = str(value)
    text = printable(text)
    return text if len(text) <= MAX_VALUE_CHARS else text[:MAX_VALUE_CHARS] + "..."


def _describe_folder(folder: str, rows: int) -> list[str]:
    if objects.exists(objects.join(folder, manifest.MANIFEST)):
        return _describe_manifest(load_manifest(folder))
    found = [info for info in objects.list_objects(folder) if "/_done/" not in info.path]
    if not found:
        raise ObjectNotFound(f"nothing at {printable(folder)}")
    suffixes: Counter[str] = Counter()
    for info in found:
        suffixes[_suffix(info.path)] += 1
    kinds = ", ".join(f"{number:,} {suffix}" for suffix, number in sorted(suffixes.items()))
    size = sum(info.size for info in found)
    lines = [f"{printable(folder)}: {len(found):,} objects, {size:,} bytes ({printable(kinds)})"]
    prefix = len(folder) + 1
    lines += [f"  {printable(info.path[prefix:])}  {info.size:,}" for info in found[:MAX_LISTED]]
    if len(found) > MAX_LISTED:
        lines.append(f"  ... and {len(found) - MAX_LISTED:,} more")
    first = next((info.path for info in found if info.path.endswith(".parquet")), None)
    return lines if first is None else [*lines, "", *_describe_table(first, rows)]


def _suffix(path: str) -> str:
    name = path.rpartition("/")[2]
    return "." + name.partition(".")[2] if "." in name else "without suffix"


def _describe_table(path: str, rows: int) -> list[str]:
    with tables.open_table(path) as parquet:
        metadata = parquet.metadata
        lines = [
            f"{printable(path)}: {metadata.num_rows:,} rows, {metadata.num_row_groups} row groups, "
            f"{objects.size(path):,} bytes"
        ]
        width = max((len(name) for name in parquet.schema_arrow.names), default=0)
        for field in parquet.schema_arrow:
            lines.append(f"  {printable(field.name):<{width}}  {field.type}")
        for key, value in (parquet.schema_arrow.metadata or {}).items():
            text = value[:MAX_VALUE_CHARS].decode(errors="replace")
            lines.append(f"  # {printable(key.decode(errors='replace'))} = {show(text)}")
    return lines + _rows(_first_rows(path, rows))


def _first_rows(path: str, rows: int) -> list[dict[str, Any]]:
    batches = tables.iter_batches(path, max_rows=1)
    return [row for batch in islice(batches, rows) for row in batch.to_pylist()]


def _rows(sample: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for number, row in enumerate(sample):
        lines.append(f"row {number}")
        width = max(len(name) for name in row)
        lines += [f"  {printable(name):<{width}}  {show(value)}" for name, value in row.items()]
    return lines


def _describe_blocks(path: str, rows: int) -> list[str]:
    table = shards.read_blocks_table(path.removesuffix(".blocks.npy") + ".tar")
    lines = [f"{printable(path)}: {len(table):,} blocks", *_blocks_summary(table)]
    names = table.dtype.names or ()
    sample = [{name: row[name].item() for name in names} for row in table[:rows]]
    return lines + _rows(sample)


def _blocks_summary(table: np.ndarray) -> list[str]:
    tokens, docs = int(table["tokens"].sum()), int(table["docs"].sum())
    return [f"  {tokens:,} tokens of {docs:,} documents, {int(table['bytes'].sum()):,} bytes"]


def _describe_shard(path: str, rows: int) -> list[str]:
    """Numbers, and the first documents with their text when the tokenizer is at hand."""
    table = shards.read_blocks_table(path)
    lines = [
        f"{printable(path)}: {objects.size(path):,} bytes, {len(table):,} blocks",
        *_blocks_summary(table),
    ]
    if not len(table):
        return lines
    block = shards.read_block(path, table[0])
    lines.append(f"  {block.tokens.dtype} tokens, first key {printable(block.key)}")
    decode = decoder_beside(path)
    for number, (doc, tokens) in enumerate(islice(iter_documents(block), rows)):
        lines.append(f"document {number}: {len(tokens):,} tokens")
        lines += [f"  {printable(name)}  {show(value)}" for name, value in doc.items()]
        lines.append(f"  tokens  {tokens[:12].tolist()}...")
        if decode is not None:
            lines.append(f"  text  {show(decode(tokens[:SAMPLE_TOKENS]))}")
    return lines


def iter_documents(block: Block) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """(origin, ids) of each document of a block."""
    ends = np.cumsum(block.lengths, dtype=np.int64)
    starts = ends - block.lengths
    for doc, start, end in zip(block.docs, starts, ends, strict=True):
        yield doc, block.tokens[start:end]


def decoder_beside(tar_path: str) -> Callable[[np.ndarray], str] | None:
    """ids -> text with the tokenizer of the manifest above a shard; None when there is none."""
    from tokenizers import Tokenizer

    root = tar_path.rpartition("/shards/")[0]
    try:
        corpus = load_manifest(root)
        text = objects.read(corpus.location(corpus.tokenizer.path)).decode()
    except StorageError:
        return None
    tokenizer = Tokenizer.from_str(text)
    return lambda ids: tokenizer.decode(ids.tolist(), skip_special_tokens=False)


def _describe_json(path: str) -> list[str]:
    if path.rpartition("/")[2] == manifest.MANIFEST:
        return _describe_manifest(load_manifest(path))
    text = objects.read(path).decode("utf-8", "replace")
    return [printable(line) for line in text.splitlines()[: 10 * MAX_LISTED]]


def _describe_manifest(corpus: CorpusManifest) -> list[str]:
    entry = corpus.tokenizer
    lines = [
        f"{printable(corpus.root)}: corpus {printable(corpus.name)}",
        f"  fingerprint  {printable(corpus.fingerprint)}",
        f"  tokenizer    {entry.vocab_size:,} ids as {entry.dtype}, {printable(entry.encoder)}, "
        f"encoding {printable(entry.encoding_hash)}",
        "",
        *_table_lines(corpus.strata, ["split", "stratum"]),
        "",
    ]
    totals = [{"split": split, **sums} for split, sums in corpus.totals.items()]
    return lines + _table_lines(totals, ["split"])


def _table_lines(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    numbers = ["shards", "documents", "tokens", "text_bytes", "bytes"]
    cells = [[*names, *numbers]]
    for row in rows:
        cells.append([printable(row[n])[:40] for n in names] + [f"{row[n]:,}" for n in numbers])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  " + "  ".join(map(_pad, line, widths)) for line in cells]


def _pad(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
