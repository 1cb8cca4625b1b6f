"""`tilth trace`: from a URL or a document id to its fate, from a packed sample to the raw record.

It reads only the columns it compares: `url` of the documents, `doc_id` of the shards' tables.
Addresses do the rest, since a document id is the part and the row where everything about it lies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow.compute as pc
import xxhash

from pipelines.config import CorpusConfig
from pipelines.documents_part import CASUALTY_PREFIX, SKIP_PREFIX
from pipelines.ingest import STAGE as INGEST
from pipelines.ingest import document_parts
from pipelines.inspect import decoder_beside, show
from pipelines.kept import FINAL
from pipelines.registry import list_files
from storage import commit, objects, shards, tables
from storage.addresses import part_name, unpack_doc_id
from storage.backend import printable
from storage.errors import ConfigError, UserError
from storage.manifest import load_manifest
from storage.objects import ObjectNotFound, StorageError

READ_THREADS = 8
MAX_SHOWN = 20


def run(
    config: CorpusConfig,
    *,
    url: str = "",
    doc_id: int | None = None,
    shard: str = "",
    sample: int = 0,
) -> str:
    """What became of the documents of a URL, of one document, or where a packed sample came from.

    Exactly one of `url`, `doc_id` and `shard` is given; `sample` counts documents of the shard
    from 0. Raises ConfigError for other combinations, UserError when there is no such thing.
    """
    if sum((bool(url), doc_id is not None, bool(shard))) != 1:
        raise ConfigError("trace needs exactly one of --url, --doc, and --shard with --sample")
    if url:
        lines = _trace_url(config, url)
    elif doc_id is not None:
        lines = list(_trace_document(config, doc_id))
    else:
        lines = _trace_sample(config, shard, sample)
    return "\n".join(lines)


def find_url(config: CorpusConfig, url: str) -> list[int]:
    """Ids of the documents with exactly this URL, by address."""

    def search(path: str) -> list[int]:
        table = tables.read_table(path, ["doc_id", "url"])
        return table.filter(pc.field("url") == url)["doc_id"].to_pylist()

    paths = [config.path(part.object("documents").path) for part in document_parts(config)]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        return sorted(found for ids in pool.map(search, paths) for found in ids)


def find_packed(config: CorpusConfig, doc_id: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(tar relative to the output, row, DOCS row) of each piece of a packed document."""
    corpus = load_manifest(config.output)

    def search(path: str) -> np.ndarray:
        ids = tables.read_table(shards.docs_path(corpus.location(path)), ["doc_id"])["doc_id"]
        return np.flatnonzero(ids.to_numpy() == np.uint64(doc_id))

    paths = corpus.shards["path"].to_pylist()
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for path, rows in zip(paths, pool.map(search, paths), strict=True):
            if len(rows):
                table = tables.read_table(shards.docs_path(corpus.location(path))).take(rows)
                for row, piece in zip(rows.tolist(), table.to_pylist(), strict=True):
                    yield path, row, piece


def _trace_url(config: CorpusConfig, url: str) -> list[str]:
    found = find_url(config, url)
    if not found:
        raise UserError(_never_a_document(config, url))
    lines = [f"{len(found)} documents with the URL {show(url)}"]
    for doc_id in found[:MAX_SHOWN]:
        lines += ["", *_trace_document(config, doc_id)]
    if len(found) > MAX_SHOWN:
        lines.append(f"... and {len(found) - MAX_SHOWN} more")
    return lines


def _never_a_document(config: CorpusConfig, url: str) -> str:
    """Why a URL is in no document, as far as the counts of ingest can tell."""
    counts: Counter[str] = Counter()
    mentions: list[str] = []
    for marker in commit.read_markers(config.output, INGEST):
        counts.update(marker.counts)
        for written in marker.objects:
            if written.table == "casualties":
                rows = tables.read_table(config.path(written.path)).to_pylist()
                mentions += [
                    f"{row['kind']}: {row['message']} ({row['record']})"
                    for row in rows
                    if url in row["message"] or url in row["record"]
                ]
    if mentions:
        return f"{show(url)} could not be read: {printable(mentions[0])}"
    lost = ", ".join(
        f"{number:,} {printable(name)}"
        for name, number in sorted(counts.items())
        if name.startswith((SKIP_PREFIX, CASUALTY_PREFIX)) and number
    )
    return (
        f"none of {counts['documents']:,} documents has the URL {show(url)}; raw records that did "
        f"not become documents: {lost or 'none'}"
    )


def _trace_document(config: CorpusConfig, doc_id: int) -> Iterator[str]:
    part = _part_of(config, doc_id)
    row = unpack_doc_id(doc_id).row
    document = _row(config.path("documents", f"{part}.parquet"), row)
    yield f"document {doc_id}: row {row} of documents/{part}.parquet"
    yield from _origin(config, document)
    yield f"  hash       {xxhash.xxh3_128_hexdigest(document['text'].encode())}"
    yield f"  text       {show(document['text'])}"
    try:
        final = _row(config.path(FINAL, f"{part}.parquet"), row)
    except ObjectNotFound:
        yield "  fate       not decided yet: run `tilth dedup`"
        return
    if final["kept"]:
        yield f"  fate       kept, split {final['split']}"
        yield from _places(config, doc_id)
    else:
        yield f"  fate       dropped by {printable(final['stage'])}: {printable(final['reason'])}"
        if final["survivor"] != doc_id:
            yield from _survivor(config, final)


def _origin(config: CorpusConfig, document: dict[str, Any]) -> Iterator[str]:
    for name in ("source", "url", "title", "license"):
        if document[name]:
            yield f"  {name:<9}  {show(document[name])}"
    yield f"  record     {show(document['record'])}"
    location = _raw_file(config, document["source"], document["record"])
    if location:
        yield f"  raw file   {printable(location)}"


def _survivor(config: CorpusConfig, final: dict[str, Any]) -> Iterator[str]:
    survivor = int(final["survivor"])
    path = config.path("documents", f"{_part_of(config, survivor)}.parquet")
    document = _row(path, unpack_doc_id(survivor).row)
    yield f"  survivor   document {survivor}, similarity {final['similarity']:.3f}"
    yield f"             url {show(document['url'])}"
    yield f"             record {show(document['record'])} of {printable(document['source'])}"


def _places(config: CorpusConfig, doc_id: int) -> Iterator[str]:
    try:
        found = list(find_packed(config, doc_id))
    except StorageError:
        yield "  packed     not yet: run `tilth pack`"
        return
    for path, row, piece in found:
        yield (
            f"  packed     {path} --sample {row}: block {piece['block']}, piece {piece['piece']}, "
            f"tokens {piece['offset']} to {piece['offset'] + piece['count']}"
        )
    if not found:
        yield "  packed     nowhere: its text is empty, or pack has not run since"


def _trace_sample(config: CorpusConfig, shard: str, sample: int) -> list[str]:
    tar = shard if objects.exists(shard) else config.path(shard)
    docs = tables.read_table(shards.docs_path(tar))
    if not 0 <= sample < docs.num_rows:
        raise UserError(
            f"--sample {sample}: {printable(tar)} has documents 0 to {docs.num_rows - 1}"
        )
    piece = docs.slice(sample, 1).to_pylist()[0]
    block = shards.read_block(tar, shards.read_blocks_table(tar)[int(piece["block"])])
    tokens = block.tokens[piece["offset"] : piece["offset"] + piece["count"]]
    decode = decoder_beside(tar)
    lines = [
        f"sample {sample} of {printable(tar)}: block {piece['block']}, piece {piece['piece']}, "
        f"{piece['count']} tokens",
        f"  tokens     {tokens[:12].tolist()}...",
    ]
    if decode is not None:
        lines.append(f"  decoded    {show(decode(tokens[:200]))}")
    return [*lines, "", *_trace_document(config, piece["doc_id"])]


def _part_of(config: CorpusConfig, doc_id: int) -> str:
    address = unpack_doc_id(doc_id)
    name = part_name(address.unit, address.part)
    for marker in document_parts(config):
        written = marker.object("documents")
        if marker.part.rpartition("/")[2] == name and address.row < written.rows:
            return marker.part
    raise UserError(f"no document has the id {doc_id} (unit, part and row {tuple(address)})")


def _row(path: str, row: int) -> dict[str, Any]:
    """One row of a table, found in its row group."""
    with tables.open_table(path) as parquet:
        for group in range(parquet.num_row_groups):
            num_rows = parquet.metadata.row_group(group).num_rows
            if row < num_rows:
                return (
                    parquet.read_row_group(group, use_threads=tables.USE_THREADS)
                    .slice(row, 1)
                    .to_pylist()[0]
                )
            row -= num_rows
    raise StorageError(f"{path} ends before the row of this document")


def _raw_file(config: CorpusConfig, source: str, record: str) -> str:
    """Where the raw bytes can be opened now; empty when the raw files are gone."""
    try:
        files = list_files(config.source(source))
    except (StorageError, ConfigError):
        return ""
    inside = [path for path in files if record.startswith(path)]
    return files[max(inside, key=len)].location if inside else ""
