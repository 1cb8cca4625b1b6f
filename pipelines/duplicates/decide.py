"""The final decision on each document: its first drop, its split, its cluster and survivor.

    decisions/final: doc_id, kept, reason, stage, split, cluster, survivor, similarity,
                     num_copies

A document has exactly one fate: the first drop in the order take-down, licence, selection,
decontamination, url, exact, fuzzy, semantic. `split` follows from the content hash alone, for
dropped documents too. Map-only: a part's rows need nothing from other parts, because the last
stage of dedup has brought clusters and survivors to their rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config import CorpusConfig
from pipelines.duplicates import competing, decisions, exact, fuzzy, semantic
from pipelines.duplicates.competing import HASH, Part
from pipelines.duplicates.decisions import Decisions
from pipelines.duplicates.ranking import is_validation, split_hashes
from pipelines.stages import Task
from pipelines.workplace import run_step
from storage import commit, tables
from storage.commit import PartMarker, WrittenObject
from storage.tables import FINAL

STAGE = "decisions/final"
VERSION = 2


def run(config: CorpusConfig, parts: Sequence[Part]) -> Counter[str]:
    """Writes `decisions/final/`; returns the counts over all parts."""
    stages = competing.earlier_stages(config)
    stages += [exact.URL_STAGE] if config.dedup.url else []
    stages += [exact.STAGE] if config.dedup.exact else []
    stages += [fuzzy.STAGE] if config.dedup.fuzzy else []
    stages += [semantic.STAGE] if config.dedup.semantic else []
    recipes = _recipes(config, stages, parts)
    tasks = [Task(part.name, recipes[part.name], part.num_docs) for part in parts]
    run_step(config, STAGE, tasks, DecidePart(config, tuple(stages), tuple(parts)))
    markers = competing.stage_markers(config, STAGE, parts)
    total: Counter[str] = Counter()
    for marker in markers.values():
        total.update(marker.counts)
    decisions.check_accounting(STAGE, total)
    return total


@dataclass(frozen=True, slots=True)
class DecidePart:
    """The work of one task."""

    config: CorpusConfig
    stages: tuple[str, ...]
    """In the order of decisions."""
    parts: tuple[Part, ...]

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        part = next(part for part in self.parts if part.name == task.part)
        table = final_table(self.config, part, self.stages)
        path = self.config.path(STAGE, f"{part.name}.parquet")
        written = WrittenObject.of_table(STAGE, part.name, tables.write_table(path, table, FINAL))
        counts = _counts(table)
        decisions.check_accounting(part.name, counts)
        yield PartMarker(STAGE, part.name, task.recipe_id, [written], counts)


def final_table(config: CorpusConfig, part: Part, stages: Sequence[str]) -> pa.Table:
    """FINAL rows of one part."""
    stage, reason = first_drops(config, part, stages)
    fates = Decisions.none(part.doc_ids)
    if stages[-1] in (exact.URL_STAGE, exact.STAGE, fuzzy.STAGE, semantic.STAGE):
        fates = decisions.read_decisions(config, stages[-1], part)
    path = config.path(HASH, f"{part.name}.parquet")
    high = split_hashes(tables.read_table(path, ["content_hash"])["content_hash"]).high
    validation = is_validation(high, config.pack.validation_fraction)
    kept = stage == 0
    names = ["", *(folder.rpartition("/")[2] for folder in stages)]
    by_url = stage == (names.index("url") if "url" in names else -1)
    columns = {
        "doc_id": part.doc_ids,
        "kept": kept,
        "reason": reason,
        "stage": pa.array(names, pa.string()).take(pa.array(stage)),
        "split": pa.array(["train", "validation"]).take(pa.array(validation.astype(np.int8))),
        "cluster": fates.cluster,
        "survivor": fates.survivor,
        "similarity": np.where(by_url, 0.0, fates.similarity),
        "num_copies": np.where(kept, fates.num_copies, 0),
    }
    arrays = [pa.array(columns[field.name], field.type) for field in FINAL]
    return pa.Table.from_arrays(arrays, schema=FINAL)


def first_drops(
    config: CorpusConfig, part: Part, stages: Sequence[str]
) -> tuple[npt.NDArray[np.int8], pa.Array]:
    """Number of the first stage that drops each row, from 1 (0 where none does), and its reason."""
    stage = np.zeros(part.num_docs, np.int8)
    codes = np.zeros(part.num_docs, np.int32)
    reasons = [""]
    for number, folder in enumerate(stages, 1):
        path = config.path(folder, f"{part.name}.parquet")
        table = tables.read_table(path, ["drop", "reason"])
        assert table.num_rows == part.num_docs, f"{path} is not aligned with its documents"
        new = table["drop"].to_numpy() & (stage == 0)
        stage[new] = number
        own_codes, own_reasons = decisions.encode_labels(table["reason"])
        codes[new] = own_codes[new] + len(reasons)
        reasons += own_reasons
    return stage, pa.array(reasons, pa.string()).take(pa.array(codes))


def _recipes(config: CorpusConfig, stages: Sequence[str], parts: Sequence[Part]) -> dict[str, str]:
    markers = [competing.stage_markers(config, stage, parts) for stage in (HASH, *stages)]
    settings = {
        "stages": list(stages),
        "validation_fraction": config.pack.validation_fraction,
    }
    return {
        part.name: commit.recipe_id(
            STAGE, VERSION, settings, [commit.fingerprint(one[part.name] for one in markers)]
        )
        for part in parts
    }


def _counts(table: pa.Table) -> dict[str, int]:
    kept = table["kept"].to_numpy()
    validation = np.asarray(pc.call_function("equal", [table["split"], "validation"]))
    counts = {
        "documents": table.num_rows,
        "kept": int(kept.sum()),
        "kept_validation": int((kept & validation).sum()),
    }
    reasons = table["reason"].filter(pa.array(~kept))
    return counts | decisions.drop_counts(reasons.to_pylist())
