"""What the report counts, gathered from markers, tables and the manifest, one part at a time.

No text is read here. Memory holds a few columns of one part, counters, and at most MAX_MEMBERS ids
of clustered documents at a time, whatever the size of the corpus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.columns import text_bytes
from pipelines import ingest, pack, select
from pipelines.annotate import signals_stage
from pipelines.config import CorpusConfig
from pipelines.documents_part import CASUALTY_PREFIX, SKIP_PREFIX
from pipelines.duplicates import competing, fuzzy, pair_steps, semantic
from pipelines.duplicates.decide import STAGE as FINAL_STAGE
from pipelines.registry import REGISTRY
from pipelines.reporting.funnel import STAGE_TITLES, Funnel, Tally
from pipelines.stages import require
from pipelines.views import view_editors
from storage import commit, tables
from storage.commit import PartMarker
from storage.errors import UserError
from storage.manifest import CorpusManifest

MAX_MEMBERS = 1 << 26
"""Ids in memory at a time while clusters are counted: 0.5 GB, twice that while they are sorted."""
MAX_CASUALTIES = 200
MAX_CASUALTIES_OF_KIND = 10
"""Casualties listed, in all and of one kind in one source; all are counted."""


@dataclass
class ReportData:
    """Counts of a whole corpus; keys of tallies are given in order."""

    funnels: list[Funnel]
    """In the order of the sources in the configuration."""
    stages: list[str] = field(default_factory=list)
    """The stages that decided, in order: select, exact, ..."""
    languages: Tally = field(default_factory=Tally)
    """By (language, kept)."""
    lengths: Tally = field(default_factory=Tally)
    """By (bits, kept): texts of 2**(bits - 1) to 2**bits - 1 bytes, of 0 bytes for 0 bits."""
    cluster_sizes: Counter[int] = field(default_factory=Counter)
    """Documents linked by duplicate pairs, directly or through others -> number of clusters."""
    dedup: Counter[str] = field(default_factory=Counter)
    """Counts of the dedup stages: ranked documents, pairs by method, buckets."""
    casualties: list[dict[str, str]] = field(default_factory=list)
    """Examples: source, record, kind, message."""
    is_packed: bool = False
    """The manifest holds what the decisions keep."""


def gather(config: CorpusConfig, manifest: CorpusManifest | None) -> ReportData:
    """Everything the page counts. Raises UserError when a stage is missing, StorageError."""
    parts = decided_parts(config)
    funnels = {source.name: Funnel(source.name) for source in config.sources}
    data = ReportData(list(funnels.values()))
    _count_raw(config, funnels)
    data.casualties = list(list_casualties(config))
    for part in parts:
        _count_part(config, part.part, funnels, data)
    data.stages = deciding_stages(config, data.funnels)
    data.cluster_sizes = cluster_sizes(config, parts)
    data.dedup = _dedup_counts(config, funnels)
    _count_rules(config, funnels)
    _count_tokens(manifest, funnels)
    for funnel in data.funnels:
        funnel.check()
    data.is_packed = manifest is not None and _packed_all(config, data.funnels)
    return data


def decided_parts(config: CorpusConfig) -> list[PartMarker]:
    """The parts of the configured sources. Raises UserError for one without final decisions."""
    decided = {
        marker.part: marker.object(FINAL_STAGE).rows
        for marker in commit.read_markers(config.output, FINAL_STAGE)
    }
    parts = ingest.document_parts(config)
    if not parts:
        require(config, FINAL_STAGE, "dedup")
    for part in parts:
        if decided.get(part.part) != part.object("documents").rows:
            raise UserError(
                f"report: {part.part} has no final decisions, or those of other documents; "
                "run `tilth run`, or its stages up to dedup, before"
            )
    return parts


def deciding_stages(config: CorpusConfig, funnels: Sequence[Funnel]) -> list[str]:
    """The stages that the configuration asks for or that dropped a document, in order."""
    asked = {stage.rpartition("/")[2] for stage in competing.earlier_stages(config)}
    asked |= {"url"} if config.dedup.url else set()
    asked |= {"exact"} if config.dedup.exact else set()
    asked |= {"fuzzy"} if config.dedup.fuzzy else set()
    asked |= {"semantic"} if config.dedup.semantic else set()
    dropping = {stage for funnel in funnels for stage, _ in funnel.fates.documents}
    return [stage for stage in STAGE_TITLES if stage in asked | dropping]


def _of_source(funnels: dict[str, Funnel], marker: PartMarker) -> Funnel | None:
    return funnels.get(marker.part.partition("/")[0])


def _count_raw(config: CorpusConfig, funnels: dict[str, Funnel]) -> None:
    files = tables.read_table(config.path(REGISTRY), ["source", "bytes"])
    for row in files.group_by("source").aggregate([("bytes", "sum")]).to_pylist():
        if row["source"] in funnels:
            funnels[row["source"]].raw_bytes = row["bytes_sum"]
    for marker in commit.read_markers(config.output, ingest.STAGE):
        funnel = _of_source(funnels, marker)
        if funnel is None:
            continue
        funnel.records += marker.counts.get("records", 0)
        for name, count in marker.counts.items():
            if name.startswith(SKIP_PREFIX):
                funnel.skipped[name.removeprefix(SKIP_PREFIX)] += count
            elif name.startswith(CASUALTY_PREFIX):
                funnel.casualties[name.removeprefix(CASUALTY_PREFIX)] += count


def list_casualties(config: CorpusConfig) -> Iterator[dict[str, str]]:
    """The first casualties of each source and kind, with their source; reads only these."""
    listed: Counter[tuple[str, str]] = Counter()
    sources = {source.name for source in config.sources}
    for marker in commit.read_markers(config.output, ingest.STAGE):
        source = marker.part.partition("/")[0]
        room = {
            name.removeprefix(CASUALTY_PREFIX): number
            for name, number in marker.counts.items()
            if name.startswith(CASUALTY_PREFIX) and source in sources
        }
        for kind, number in room.items():
            room[kind] = min(number, MAX_CASUALTIES_OF_KIND - listed[source, kind])
        rows = _casualty_rows(config, marker)
        while any(room.values()) and listed.total() < MAX_CASUALTIES:
            row = next(rows)
            if room[row["kind"]]:
                room[row["kind"]] -= 1
                listed[source, row["kind"]] += 1
                yield {"source": source, **row}


def _casualty_rows(config: CorpusConfig, marker: PartMarker) -> Iterator[dict[str, str]]:
    for batch in tables.iter_batches(config.path(marker.object("casualties").path)):
        yield from batch.to_pylist()


def _count_part(
    config: CorpusConfig, part: str, funnels: dict[str, Funnel], data: ReportData
) -> None:
    funnel = funnels[part.partition("/")[0]]
    rows = read_columns(config, FINAL_STAGE, part, ["kept", "stage", "reason"])
    language = read_columns(config, signals_stage("language"), part, ["language"])
    sizes = read_columns(config, signals_stage("hash"), part, ["text_bytes"])["text_bytes"]
    bits = pa.array(np.frexp(sizes.to_numpy())[1])
    rows = rows.append_column("language", language["language"])
    rows = rows.append_column("text_bytes", sizes).append_column("bits", bits)
    funnel.kept += int(rows["kept"].to_numpy().sum())
    funnel.fates.add(rows, "stage", "reason")
    cut = cut_bytes(
        [_edits(config, editor, part) for editor in view_editors(config, funnel.source)]
    )
    funnel.stored_bytes += cut + int(sizes.to_numpy().sum())
    data.languages.add(rows, "language", "kept")
    data.lengths.add(rows, "bits", "kept")


def read_columns(config: CorpusConfig, folder: str, part: str, columns: list[str]) -> pa.Table:
    return tables.read_table(config.path(folder, f"{part}.parquet"), columns)


def _edits(config: CorpusConfig, editor: str, part: str) -> pa.Table:
    edits = read_columns(config, f"edits/{editor}", part, ["row", "start", "end", "replacement"])
    offsets, _ = text_bytes(edits["replacement"].combine_chunks())
    return edits.drop_columns("replacement").append_column("replaced", pa.array(np.diff(offsets)))


def cut_bytes(edits: Sequence[pa.Table]) -> int:
    """Bytes that the spans of all editors take out of a part, less those they put in.

    Tables have columns row, start, end, replaced (bytes); a span that starts within an earlier one
    puts nothing in, as in filters.edits.
    """
    if not any(table.num_rows for table in edits):
        return 0
    spans = pa.concat_tables(edits, promote_options="permissive")
    row, start, end, replaced = (
        spans[name].to_numpy().astype(np.int64) for name in ("row", "start", "end", "replaced")
    )
    base = row * (end.max() + 1)  # rows one after another on one line
    order = np.lexsort((start, row))
    start, end, replaced = (start + base)[order], (end + base)[order], replaced[order]
    covered = np.concatenate([[0], np.maximum.accumulate(end)[:-1]])
    cut = np.maximum(end - np.maximum(start, covered), 0).sum()
    return int(cut - replaced[start >= covered].sum())


def cluster_sizes(
    config: CorpusConfig, parts: Sequence[PartMarker], max_members: int = MAX_MEMBERS
) -> Counter[int]:
    """Number of clusters of duplicates by size.

    Clusters are split over as many passes as keep their members' ids within `max_members`.
    """
    num_members = sum(part.object("documents").rows for part in parts)
    num_passes = 1 + num_members // max_members
    sizes: Counter[int] = Counter()
    for number in range(num_passes):
        members = [_members(config, part.part, number, num_passes) for part in parts]
        _, counts = np.unique(np.concatenate([*members, _NONE]), return_counts=True)
        found, clusters = np.unique(counts, return_counts=True)
        sizes.update(dict(zip((found + 1).tolist(), clusters.tolist(), strict=True)))
    return sizes


_NONE = np.empty(0, np.uint64)


def _members(
    config: CorpusConfig, part: str, number: int, num_passes: int
) -> npt.NDArray[np.uint64]:
    """Cluster of each document that is not the best one of its cluster; of one pass's clusters."""
    final = read_columns(config, FINAL_STAGE, part, ["doc_id", "cluster"])
    cluster = final["cluster"].to_numpy()
    cluster = cluster[cluster != final["doc_id"].to_numpy()]
    return cluster[cluster % np.uint64(num_passes) == number]


def _dedup_counts(config: CorpusConfig, funnels: dict[str, Funnel]) -> Counter[str]:
    counts: Counter[str] = Counter()
    if config.dedup.fuzzy:
        for marker in commit.read_markers(config.output, fuzzy.SUMMARY):
            counts.update(marker.counts)
        for marker in commit.read_markers(config.output, pair_steps.STAGE):
            counts.update(marker.counts if _of_source(funnels, marker) else {})
    if config.dedup.semantic:
        for marker in commit.read_markers(config.output, semantic.SUMMARY):
            counts.update({f"semantic_{name}": n for name, n in marker.counts.items()})
    return counts


def _count_rules(config: CorpusConfig, funnels: dict[str, Funnel]) -> None:
    for marker in commit.read_markers(config.output, select.STAGE):
        funnel = _of_source(funnels, marker)
        for name, count in marker.counts.items() if funnel else ():
            if funnel and name.startswith(select.MARGINAL_PREFIX):
                funnel.marginal[name.removeprefix(select.MARGINAL_PREFIX)] += count


def _count_tokens(manifest: CorpusManifest | None, funnels: dict[str, Funnel]) -> None:
    for row in manifest.strata if manifest else []:
        funnel = funnels.get(row["stratum"].partition(".")[0])
        if funnel is None:
            continue
        funnel.packed += row["documents"]
        funnel.packed_bytes += row["text_bytes"]
        funnel.tokens += row["tokens"]
        funnel.validation_tokens += row["tokens"] if row["split"] == "validation" else 0


def _packed_all(config: CorpusConfig, funnels: Sequence[Funnel]) -> bool:
    """Whether kept = packed + empty: it is not after decisions that pack has not seen."""
    done = commit.read_marker(config.output, pack.STAGE, pack.SUMMARY)
    empty = done.counts.get("empty", 0) if done else 0
    lacking = [funnel.kept - funnel.packed for funnel in funnels]
    return min(lacking) >= 0 and sum(lacking) == empty
