"""Second half of `pack`: the work of one task, from work objects to consecutive shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.config import CorpusConfig
from pipelines.packing.scatter import END, RangeReader, Stratum
from pipelines.stages import Task
from storage import commit
from storage.commit import PartMarker, WrittenObject
from storage.shards import ShardDocument, ShardStats, ShardWriter

STAGE = "pack"
SHARDS_FOLDER = "shards"


@dataclass(frozen=True, slots=True)
class WriteShards:
    """Shards `first` to `last` of `of` of one stratum: equal ranges of the corpus's random order.

    Holds the documents of one shard in memory. A shard that a killed run finished is left alone.
    """

    config: CorpusConfig
    dtype: str
    paths: tuple[str, ...]
    """Of all work objects."""

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        stratum = Stratum(*task.payload["stratum"])
        first, last, num_shards = (task.payload[name] for name in ("first", "last", "of"))
        bounds = [number * END // num_shards for number in range(first, last + 2)]
        reader = RangeReader(list(self.paths), stratum, bounds[0], bounds[-1])
        for number in range(first, last + 1):
            part = shard_part(stratum, number)
            if commit.is_finished(self.config.output, STAGE, part, task.recipe_id):
                continue
            low, high = bounds[number - first], bounds[number - first + 1]
            documents = reader.read(low, high, np.dtype(self.dtype))
            if documents:
                yield self._write(part, task.recipe_id, documents)
            else:  # a range that large documents leave empty
                yield PartMarker(STAGE, part, task.recipe_id)

    def _write(self, part: str, recipe: str, documents: list[ShardDocument]) -> PartMarker:
        prefix = self.config.path(shard_path(part))
        with ShardWriter(prefix, np.dtype(self.dtype), self.config.pack.block_bytes) as writer:
            for document in documents:
                writer.add(document)
        stats = writer.stats
        counts = {
            "documents": stats.documents,
            "docs": stats.docs,
            "tokens": stats.tokens,
            "text_bytes": stats.text_bytes,
        }
        return PartMarker(STAGE, part, recipe, _written(part, stats), counts)


def shard_part(stratum: Stratum, number: int) -> str:
    """Name of a shard: `train/web-00000`."""
    return f"{stratum.split}/{stratum.name}-{number:05d}"


def shard_path(part: str) -> str:
    """Prefix of a shard's objects, relative to the output."""
    return f"{SHARDS_FOLDER}/{part}"


def _written(part: str, stats: ShardStats) -> list[WrittenObject]:
    path, docs = shard_path(part), stats.docs_table
    return [
        WrittenObject(f"{path}.tar", "shards", part, stats.docs, stats.bytes, stats.sha256),
        WrittenObject(f"{path}.docs.parquet", "docs", part, docs.rows, docs.bytes, docs.digest),
    ]
