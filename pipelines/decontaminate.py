"""Stage `decontaminate`: drops documents that hold text of evaluation sets. No text is read.

What they hold was found when they were annotated (signals/decontamination); here it is held
against `decontamination.min_ngrams`. Sources in `decontamination.cut` lose the shared spans
instead, which are rows of edits/decontamination, and no document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines import annotate
from pipelines.annotate import signals_stage
from pipelines.config import CorpusConfig
from pipelines.duplicates import decisions
from pipelines.ingest import document_parts
from pipelines.stages import Slice, Task, require, run_tasks
from storage import commit, tables
from storage.commit import PartMarker, WrittenObject
from storage.errors import UserError
from storage.tables import DECISION

STAGE = "decisions/decontamination"
VERSION = 1
SIGNALS = signals_stage("decontamination")
REASON_PREFIX = "leak_"


def run(config: CorpusConfig, only: Slice | None = None) -> None:
    """Decides all documents; without evaluations there is nothing to decide.

    Raises UserError when annotate has not finished, StorageError, StageError.
    """
    if not config.decontamination.evaluations:
        decisions.forget(config, STAGE)
        commit.delete_marker(config.output, "stages", STAGE)
        return
    require(config, annotate.STAGE, "annotate")
    run_tasks(config, STAGE, plan(config), DecontaminatePart(config), only)


def plan(config: CorpusConfig) -> list[Task]:
    """One task per documents part."""
    signals = {marker.part: marker for marker in commit.read_markers(config.output, SIGNALS)}
    tasks = []
    for part in document_parts(config):
        if part.part not in signals:
            raise UserError(
                f"{part.part} is not compared with the evaluations yet; run `tilth annotate`"
            )
        documents = part.object("documents")
        inputs = [documents.digest, signals[part.part].object(SIGNALS).digest]
        recipe = commit.recipe_id(STAGE, VERSION, _min_ngrams(config, part.part), inputs)
        tasks.append(Task(part.part, recipe, documents.rows))
    return tasks


@dataclass(frozen=True, slots=True)
class DecontaminatePart:
    """The work of one task: one decision table."""

    config: CorpusConfig

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        config, name = self.config, f"{task.part}.parquet"
        doc_ids = tables.read_table(config.path("documents", name), ["doc_id"])["doc_id"]
        columns = ["contaminated_ngrams", "contaminated_by"]
        found = tables.read_table(config.path(SIGNALS, name), columns)
        assert len(found) == len(doc_ids), f"{SIGNALS}/{name} is not aligned with its documents"
        min_ngrams = _min_ngrams(config, task.part)
        drop = np.zeros(len(found), bool)
        if min_ngrams is not None:
            drop = found["contaminated_ngrams"].to_numpy() >= min_ngrams
        by = found["contaminated_by"].to_pylist()
        reasons = [REASON_PREFIX + by[row] if drop[row] else "" for row in range(len(by))]
        rows = pa.table([doc_ids, pa.array(drop), pa.array(reasons, pa.string())], schema=DECISION)
        stats = tables.write_table(config.path(STAGE, name), rows, DECISION)
        counts = {"documents": len(rows), "kept": len(rows) - int(drop.sum())}
        counts |= decisions.drop_counts(reasons)
        decisions.check_accounting(task.part, counts)
        written = WrittenObject.of_table(STAGE, task.part, stats)
        yield PartMarker(STAGE, task.part, task.recipe_id, [written], counts)


def _min_ngrams(config: CorpusConfig, part: str) -> int | None:
    """N-grams at which a document of a part is dropped; None: its source loses spans instead."""
    settings = config.decontamination
    return None if part.partition("/")[0] in settings.cut else settings.min_ngrams
