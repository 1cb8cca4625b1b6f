"""Decision stages that look at documents one by one: a reason, or none, for each row of a part."""

from __future__ import annotations

import pyarrow as pa

from pipelines.config import CorpusConfig
from pipelines.duplicates import decisions
from pipelines.stages import FINISHED, Task
from storage import commit, tables
from storage.commit import PartMarker, WrittenObject
from storage.tables import DECISION


def write(config: CorpusConfig, stage: str, task: Task, reasons: list[str]) -> PartMarker:
    """Writes the table of one part; `reasons` has "" for each row that stays."""
    name = f"{task.part}.parquet"
    doc_ids = tables.read_table(config.path("documents", name), ["doc_id"])["doc_id"]
    assert len(reasons) == len(doc_ids), f"{stage}/{name} is not aligned with its documents"
    drop = pa.array([reason != "" for reason in reasons], pa.bool_())
    rows = pa.table([doc_ids, drop, pa.array(reasons, pa.string())], schema=DECISION)
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
