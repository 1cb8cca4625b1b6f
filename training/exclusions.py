"""Documents that were taken down after packing: `exclusions.parquet` beside the manifest.

Written by `tilth takedown`. One column, doc_id uint64. Their tokens become padding, without weight
and hidden from attention; the order of everything else stays. Packing again removes the bytes.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage import objects, tables
from storage.manifest import EXCLUSIONS_TABLE, CorpusManifest
from storage.objects import StorageError


def read_exclusions(corpus: CorpusManifest) -> NDArray[np.uint64]:
    """Sorted doc_ids, uint64; none when there is no such table. Raises StorageError."""
    path = corpus.location(EXCLUSIONS_TABLE)
    if not objects.exists(path):
        return np.zeros(0, np.uint64)
    table = tables.read_table(path)
    if "doc_id" not in table.column_names or table["doc_id"].type != pa.uint64():
        raise StorageError(f"{path} has columns {table.schema.names}, expected doc_id as uint64")
    return np.unique(table["doc_id"].drop_null().to_numpy())
