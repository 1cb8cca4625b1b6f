"""Tables of the dedup stages' decisions: a row per document, aligned with `documents/`.

doc_id      uint64
drop        bool      dropped by this stage
reason      string    "" when not dropped
cluster     uint64    best-ranked document of the cluster; its own id when alone
survivor    uint64    kept document that stands for this one; its own id when there is none
similarity  float64   with the survivor: 1 for equal texts, 0 when there is none
num_copies  uint32    documents that this one stands for: itself and those dropped for it; 0 when
                      dropped itself, so the sum is the number of documents
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.config import CorpusConfig
from pipelines.duplicates.competing import Part
from storage import commit, objects, tables
from storage.commit import PartMarker, WrittenObject
from storage.tables import DECISION

DEDUP_DECISION = pa.schema(
    [
        *DECISION,
        ("cluster", pa.uint64()),
        ("survivor", pa.uint64()),
        ("similarity", pa.float64()),
        ("num_copies", pa.uint32()),
    ]
)
DROP_PREFIX = "drop:"


class Decisions(NamedTuple):
    """Columns of one part, in row order; `reason` is "" exactly where nothing is dropped."""

    reason: npt.NDArray[np.str_]
    cluster: npt.NDArray[np.uint64]
    survivor: npt.NDArray[np.uint64]
    similarity: npt.NDArray[np.float64]
    num_copies: npt.NDArray[np.uint32]

    @classmethod
    def none(cls, doc_ids: npt.NDArray[np.uint64]) -> Decisions:
        """Nothing dropped, everything alone."""
        reason = np.full(len(doc_ids), "", "U32")
        copies = np.ones(len(doc_ids), np.uint32)
        return cls(reason, doc_ids.copy(), doc_ids.copy(), np.zeros(len(doc_ids)), copies)


def write_decisions(
    config: CorpusConfig,
    stage: str,
    part: Part,
    recipe: str,
    decisions: Decisions,
    num_competing: int,
) -> None:
    """Writes and commits one part. Counts: competing documents = kept + drops by reason."""
    commit.delete_marker(config.output, stage, part.name)  # it must not vouch for what comes
    dropped = decisions.reason != ""
    columns = [part.doc_ids, dropped, column_of_labels(decisions.reason), *decisions[1:]]
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns, DEDUP_DECISION, strict=True)
    ]
    table = pa.Table.from_arrays(arrays, schema=DEDUP_DECISION)
    stats = tables.write_table(config.path(stage, f"{part.name}.parquet"), table, DEDUP_DECISION)
    counts = {"documents": num_competing, "kept": num_competing - int(dropped.sum())}
    counts |= drop_counts(decisions.reason[dropped].tolist())
    check_accounting(part.name, counts)
    written = WrittenObject.of_table(stage, part.name, stats)
    commit.write_marker(config.output, PartMarker(stage, part.name, recipe, [written], counts))


def read_decisions(config: CorpusConfig, stage: str, part: Part) -> Decisions:
    path = config.path(stage, f"{part.name}.parquet")
    table = tables.read_table(path, ["reason", *Decisions._fields[1:]])
    assert table.num_rows == part.num_docs, f"{path} is not aligned with documents/{part.name}"
    codes, labels = encode_labels(table["reason"])
    reason = np.array(labels, "U32")[codes]
    numbers = (table[name].to_numpy().copy() for name in table.column_names[1:])
    return Decisions(reason, *numbers)


def encode_labels(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], list[str]]:
    """A string column of few distinct values as codes, and what they stand for."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def column_of_labels(labels: npt.NDArray[np.str_]) -> pa.Array:
    """The other way, of labels most of which are "": an array of strings is 20 times as slow."""
    codes = np.zeros(len(labels), np.int32)
    rows = np.flatnonzero(labels != "")
    values, places = np.unique(labels[rows], return_inverse=True)
    codes[rows] = places + 1
    return pa.array(["", *values.tolist()], pa.string()).take(pa.array(codes))


def drop_counts(reasons: Iterable[str]) -> dict[str, int]:
    """How many rows each reason dropped."""
    return {f"{DROP_PREFIX}{reason}": n for reason, n in Counter(reasons).items() if reason}


def check_accounting(name: str, counts: Mapping[str, int]) -> None:
    """documents = kept + sum(dropped by reason)."""
    dropped = sum(number for key, number in counts.items() if key.startswith(DROP_PREFIX))
    assert counts["documents"] == counts["kept"] + dropped, f"{name}: {counts} does not add up"


def is_finished(config: CorpusConfig, stage: str, parts: Sequence[Part], recipe: str) -> bool:
    """Whether a stage has decided all parts under this recipe."""
    done = {marker.part: marker.recipe_id for marker in commit.read_markers(config.output, stage)}
    return all(done.get(part.name) == recipe for part in parts)


def forget(config: CorpusConfig, stage: str) -> None:
    """Removes what a stage wrote before it was switched off: nothing may take it for current."""
    objects.delete_tree(config.path(commit.DONE, stage))
    objects.delete_tree(config.path(stage))
