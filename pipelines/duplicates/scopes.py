"""The scope of dedup: which documents may be duplicates of each other.

    global   all
    source   those of one source
    dump     those of one crawl dump: `meta.dump` (as in FineWeb), else CC-MAIN-yyyy-ww in the
             record, else the source

The scope of a document is mixed into its content hash and its band hashes, so documents of two
scopes never meet. Validation documents compete in every scope: whatever the scope, no training
document that resembles one is kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from pipelines.config import CorpusConfig
from pipelines.duplicates.competing import Part
from storage import objects, tables

DUMP = re.compile(r"CC-MAIN-\d{4}-\d{2}")
DUMP_KEY = "dump"
SCOPED = np.dtype([("scope", "<u8"), ("validation", "<u8")])

UInt64Array = npt.NDArray[np.uint64]


class Scopes(NamedTuple):
    """Of the ranked documents of a part, in order; and all scopes of the corpus, ascending."""

    own: UInt64Array
    validation: npt.NDArray[np.bool_]
    every: UInt64Array

    def spread(self, ranked: np.ndarray, hashes: UInt64Array) -> tuple[np.ndarray, UInt64Array]:
        """Rows with the scope in their hash; those of validation documents once for each scope."""
        rows, mixed = [ranked], [hashes ^ self.own]
        for scope in self.every:
            guests = self.validation & (self.own != scope)
            rows.append(ranked[guests])
            mixed.append(hashes[guests] ^ scope)
        return np.concatenate(rows), np.concatenate(mixed)


def scopes_of(config: CorpusConfig, part: Part) -> UInt64Array:
    """The scope of each document of a part, uint64[num_docs]; 0 when it is global."""
    scope = config.dedup.scope
    if scope == "global":
        return np.zeros(part.num_docs, np.uint64)
    if scope == "source":
        return np.full(part.num_docs, _hash(part.source), np.uint64)
    path = config.path("documents", f"{part.name}.parquet")
    columns = tables.read_table(path, ["record", "meta"])
    rows = zip(columns["record"].to_pylist(), columns["meta"].to_pylist(), strict=True)
    return np.array([_hash(_dump(part.source, *row)) for row in rows], np.uint64)


def write(folder: str, part: Part, own: UInt64Array, validation: npt.NDArray[np.bool_]) -> None:
    rows = np.empty(len(own), SCOPED)
    rows["scope"], rows["validation"] = own, validation
    objects.write(_path(folder, part.name), rows.tobytes())


def write_every(folder: str, every: UInt64Array) -> None:
    objects.write(_path(folder, "every"), every.tobytes())


def read(folder: str, part: str) -> Scopes:
    rows = np.frombuffer(objects.read(_path(folder, part)), SCOPED)
    every = np.frombuffer(objects.read(_path(folder, "every")), np.uint64)
    return Scopes(rows["scope"], rows["validation"] > 0, every)


def _path(folder: str, name: str) -> str:
    return objects.join(folder, "scopes", f"{name}.bin")


def _dump(source: str, record: str, meta: Sequence[tuple[str, str]] | None) -> str:
    named = dict(meta or ()).get(DUMP_KEY)
    found = DUMP.search(record or "")
    return named or (found[0] if found else source)


def _hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode()) or 1
