"""Which documents compete in dedup: those that every earlier decision keeps.

Parts are sorted by address, so the rows of all parts put one after another ascend by doc_id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines import ingest, select
from pipelines.annotate import signals_stage
from pipelines.config import CorpusConfig
from storage import commit, tables
from storage.addresses import ROW_BITS, pack_doc_id, parse_part_name
from storage.commit import PartMarker
from storage.errors import UserError

HASH, MINHASH = signals_stage("hash"), signals_stage("minhash")
EARLIER_STAGES = (
    "decisions/takedown",
    "decisions/license",
    select.STAGE,
    "decisions/decontamination",
)
"""What decides before dedup, in order; `select` always does, the others where they have run."""
_COMMANDS = {"decontamination": "decontaminate"}
"""Stages whose command has another name."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of `documents/`."""

    name: str
    """As in `web/0000000-0000`."""
    num_docs: int
    num_bytes: int
    """Of the documents' object."""

    def to_payload(self) -> dict[str, Any]:
        """For a task; `Part(**payload)` is this part again."""
        return asdict(self)

    @property
    def address(self) -> int:
        """The upper bits of its documents' ids."""
        return self.first_doc_id >> ROW_BITS

    @property
    def source(self) -> str:
        return self.name.partition("/")[0]

    @property
    def first_doc_id(self) -> int:
        unit, part = parse_part_name(self.name.rpartition("/")[2])
        return pack_doc_id(unit, part, 0)

    @property
    def doc_ids(self) -> npt.NDArray[np.uint64]:
        return np.arange(self.first_doc_id, self.first_doc_id + self.num_docs, dtype=np.uint64)

    def slice_of(self, doc_ids: npt.NDArray[np.uint64]) -> slice:
        """Where the documents of this part are in ascending `doc_ids`."""
        bounds = np.array([self.first_doc_id, self.first_doc_id + self.num_docs], np.uint64)
        start, end = np.searchsorted(doc_ids, bounds)
        return slice(int(start), int(end))

    def rows_of(self, doc_ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Row numbers of documents of this part."""
        return (doc_ids - np.uint64(self.first_doc_id)).astype(np.int64)


def find_parts(config: CorpusConfig) -> list[Part]:
    """The parts of the configured sources, by address."""
    documents = {
        marker.part: marker.object("documents") for marker in ingest.document_parts(config)
    }
    parts = [Part(name, written.rows, written.bytes) for name, written in documents.items()]
    return sorted(parts, key=lambda part: part.first_doc_id)


def stage_markers(config: CorpusConfig, stage: str, parts: Sequence[Part]) -> dict[str, PartMarker]:
    """The markers of a stage by part. Raises UserError when a part is not finished."""
    markers = {marker.part: marker for marker in commit.read_markers(config.output, stage)}
    missing = [part.name for part in parts if part.name not in markers]
    if missing:
        kind, _, name = stage.partition("/")
        command = "annotate" if kind == "signals" else _COMMANDS.get(name, name)
        raise UserError(
            f"dedup needs {stage} of all parts; {len(missing)} of {len(parts)} lack it, first "
            f"{missing[0]}: run `tilth {command}` before"
        )
    return {part.name: markers[part.name] for part in parts}


def earlier_stages(config: CorpusConfig) -> list[str]:
    """The stages before dedup that have decided, or that the configuration asks for, in order."""
    asked = {select.STAGE}
    if config.takedown.is_set:
        asked.add("decisions/takedown")
    if config.license.is_set:
        asked.add("decisions/license")
    if config.decontamination.evaluations:
        asked.add("decisions/decontamination")
    return [
        stage
        for stage in EARLIER_STAGES
        if stage in asked or commit.read_markers(config.output, stage)
    ]


def inputs_digest(config: CorpusConfig, stages: Sequence[str], parts: Sequence[Part]) -> str:
    """One hash over everything that `stages` wrote for the parts."""
    return commit.fingerprint(
        marker for stage in stages for marker in stage_markers(config, stage, parts).values()
    )


def competing_rows(
    config: CorpusConfig, part: Part, stages: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Which rows of a part no decision of `stages` drops: bool[num_docs]."""
    competing = np.ones(part.num_docs, bool)
    for stage in stages:
        path = config.path(stage, f"{part.name}.parquet")
        dropped = tables.read_table(path, ["drop"])["drop"].to_numpy()
        assert len(dropped) == part.num_docs, f"{path} is not aligned with documents/{part.name}"
        competing &= ~dropped
    return competing
