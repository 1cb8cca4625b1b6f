"""Decision stages that look at documents one by one: a reason, or none, for each row of a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from pipelines.config import CorpusConfig
from pipelines.duplicates import decisions
from pipelines.stages import FINISHED, Task
from storage import commit, tables
from storage.commit import PartMarker, WrittenObject
from storage.tables import DECISION


def decide(
    config: CorpusConfig,
    stage: str,
    task: Task,
    columns: Sequence[str],
    reasons_of: Callable[[pa.RecordBatch], list[str]],
) -> PartMarker:
    """Reads `columns` of one part's documents once, and writes its table.

    `reasons_of` has "" for each row of a batch that stays.
    """
    name = f"{task.part}.parquet"
    doc_ids: list[pa.Array] = []
    reasons: list[str] = []
    for batch in tables.iter_batches(config.path("documents", name), ["doc_id", *columns]):
        doc_ids.append(batch.column("doc_id"))
        reasons += reasons_of(batch)
    ids = pa.chunked_array(doc_ids, DECISION.field("doc_id").type)
    assert len(reasons) == len(ids), f"{stage}/{name} is not aligned with its documents"
    drop = pa.array([reason != "" for reason in reasons], pa.bool_())
    rows = pa.table([ids, drop, pa.array(reasons, pa.string())], schema=DECISION)
    stats = tables.write_table(config.path(stage, name), rows, DECISION)
    drops = decisions.drop_counts(reasons)
    counts = {"documents": len(rows), "kept": len(rows) - sum(drops.values()), **drops}
    decisions.check_accounting(task.part, counts)
    written = WrittenObject.of_table(stage, task.part, stats)
    return PartMarker(stage, task.part, task.recipe_id, [written], counts)


def forget(config: CorpusConfig, stage: str) -> None:
    """What the stage decided is void: the configuration no longer asks for it."""
    decisions.forget(config, stage)
    commit.delete_marker(config.output, FINISHED, stage)
