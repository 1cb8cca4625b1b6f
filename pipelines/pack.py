"""Stage `pack`: kept documents -> tokens -> WebDataset shards, block tables and the manifest.

Two map-only halves, no shuffle:

1. scatter: read documents with their view, tokenise, write sorted work objects (scatter.py);
2. shards: each shard is a range of a fixed random order of its stratum; its writer reads that
   range from every work object. The number of shards follows from exact totals.

What a shard holds depends on the kept documents and the settings alone: not on parts, tasks,
workers or their order. Accounting: kept = packed + empty (documents without a token).

Work objects lie in `<output>/.work/pack/<recipe>/` until the manifest is written. A changed
decision packs again from `documents/`; no raw file is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from pipelines.config import CorpusConfig
from pipelines.duplicates.generations import fingerprint_markers
from pipelines.kept import KeptPart, kept_parts
from pipelines.packing import scatter_task, tokenizer
from pipelines.packing.scatter import Stratum, read_index
from pipelines.packing.scatter_task import ALIGNED, ScatterParts, work_path
from pipelines.packing.shard_task import SHARDS_FOLDER, STAGE, WriteShards, shard_part, shard_path
from pipelines.packing.tokenizer import CorpusTokenizer
from pipelines.stages import Slice, Task, run_tasks
from storage import commit, manifest, objects
from storage.commit import PartMarker
from storage.errors import UserError
from storage.manifest import SHARDS, CorpusManifest, load_manifest

VERSION = 1
SUMMARY = "manifest"
"""Marker that the manifest is written, and that no work is left."""
MAX_TASKS = 256
"""Per split and stratum."""
MAX_SCATTER_BYTES = 1 << 30
MIN_SCATTER_BYTES = 8 << 20
SCATTER_TASKS = 64
"""Of a small corpus, so that all workers have some; a large one has tasks of 1 GB."""


class EmptyCorpusError(UserError):
    """No document is kept: there is nothing to pack."""


def run(config: CorpusConfig, only: Slice | None = None) -> CorpusManifest | None:
    """Packs what is kept, unless it is packed already; returns the manifest.

    With a slice, both halves run their share of the tasks and None is returned while tasks of
    other slices are unfinished: run all slices once for each half. Raises EmptyCorpusError,
    UserError, StorageError, StageError.
    """
    parts = kept_parts(config)
    recipe = _recipe_id(config, parts)
    if commit.is_finished(config.output, STAGE, SUMMARY, recipe):
        return load_manifest(config.output)
    _retract(config, recipe)
    if not sum(part.num_kept for part in parts):
        raise EmptyCorpusError(
            f"{config.name}: no document is kept, so there is nothing to pack; the reasons are in "
            f"{config.path('decisions')}"
        )
    ready = tokenizer.prepare(config, parts)
    work = _work(config, recipe)
    scattered = _scatter(config, parts, ready, work, recipe, only)
    if scattered is None:
        return None
    tasks = plan_shards(config, [work_path(work, marker.part) for marker in scattered], recipe)
    paths = tuple(work_path(work, marker.part) for marker in scattered)
    run_tasks(config, STAGE, tasks, WriteShards(config, ready.entry.dtype, paths), only)
    shards = _shard_markers(config, tasks)
    if shards is None:
        return None
    return _finish(config, ready, recipe, scattered, shards)


def group_parts(parts: list[KeptPart]) -> list[list[KeptPart]]:
    """Consecutive parts for one scatter task each; empty parts belong to none.

    The bytes of zstd Parquet are about those of the tokens.
    """
    total = sum(part.num_bytes for part in parts)
    limit = min(MAX_SCATTER_BYTES, max(MIN_SCATTER_BYTES, total // SCATTER_TASKS))
    groups: list[list[KeptPart]] = [[]]
    for part in parts:
        if sum(member.num_bytes for member in groups[-1]) >= limit:
            groups.append([])
        if part.num_kept:
            groups[-1].append(part)
    return [group for group in groups if group]


def plan_shards(config: CorpusConfig, paths: list[str], recipe: str) -> list[Task]:
    """Tasks of consecutive shards, at most MAX_TASKS for each split and stratum."""
    totals: Counter[Stratum] = Counter()
    for path in paths:
        index = read_index(path)
        for stratum in index.strata:
            totals[stratum] += int(index.of(stratum)["token_bytes"].sum())
    return [
        task
        for stratum, token_bytes in sorted(totals.items())
        for task in _plan_stratum(config, stratum, token_bytes, recipe)
    ]


def _plan_stratum(
    config: CorpusConfig, stratum: Stratum, token_bytes: int, recipe: str
) -> list[Task]:
    shard_bytes = config.pack.shard_bytes
    num_shards = max(1, (token_bytes + shard_bytes // 2) // shard_bytes)
    per_task = -(-num_shards // MAX_TASKS)
    tasks = []
    for first in range(0, num_shards, per_task):
        last = min(first + per_task, num_shards) - 1
        tasks.append(
            Task(
                shard_part(stratum, last),
                recipe,
                token_bytes * (last + 1 - first) // num_shards,
                {"stratum": list(stratum), "first": first, "last": last, "of": num_shards},
            )
        )
    return tasks


def _recipe_id(config: CorpusConfig, parts: list[KeptPart]) -> str:
    settings = {
        "tokenizer": tokenizer.recipe_id(config, parts),
        **config.pack.model_dump(exclude={"validation_fraction"}),
    }
    inputs = [f"{part.name}:{digest}" for part in parts for digest in part.digests]
    if appends := fingerprint_markers(config):
        inputs.append(commit.fingerprint(appends))
    for column, stage in ALIGNED.items():
        if column in config.pack.partition_by:
            inputs.append(commit.fingerprint(commit.read_markers(config.output, stage)))
    return commit.recipe_id(STAGE, VERSION, settings, inputs)


def _work(config: CorpusConfig, recipe: str) -> str:
    return config.path(".work", STAGE, recipe)


def _retract(config: CorpusConfig, recipe: str) -> None:
    """An old manifest must not vouch for shards that are being replaced."""
    if commit.read_marker(config.output, STAGE, SUMMARY) is not None:
        objects.delete(config.path(manifest.MANIFEST))
        objects.delete(config.path(manifest.SHARDS_TABLE))
        commit.delete_marker(config.output, STAGE, SUMMARY)
    work = _work(config, recipe)
    for info in objects.list_objects(config.path(".work", STAGE)):
        if not info.path.startswith(f"{work}/"):
            objects.delete(info.path)


def _scatter(
    config: CorpusConfig,
    parts: list[KeptPart],
    ready: CorpusTokenizer,
    work: str,
    recipe: str,
    only: Slice | None,
) -> list[PartMarker] | None:
    """Runs the first half; its markers lie with the work objects and go when these go."""
    tasks = [
        Task(
            f"{number:05d}",
            recipe,
            sum(part.num_bytes for part in group),
            {"parts": [part.to_json() for part in group]},
        )
        for number, group in enumerate(group_parts(parts))
    ]
    working = config.model_copy(update={"output": work})
    do_task = ScatterParts(config, ready.engine, work)
    run_tasks(working, scatter_task.STAGE, tasks, do_task, only)
    markers = commit.read_markers(work, scatter_task.STAGE)
    if len(markers) < len(tasks):
        return None
    counts = _sum_counts(markers)
    num_kept = sum(part.num_kept for part in parts)
    assert counts["kept"] == counts["packed"] + counts["empty"] == num_kept, (
        f"pack: {dict(counts)} does not add up to {num_kept} kept documents"
    )
    return markers


def _shard_markers(config: CorpusConfig, tasks: list[Task]) -> list[PartMarker] | None:
    """The markers of all planned shards in order; None while some are missing."""
    found = {marker.part: marker for marker in commit.read_markers(config.output, STAGE)}
    names = [
        shard_part(Stratum(*task.payload["stratum"]), number)
        for task in tasks
        for number in range(task.payload["first"], task.payload["last"] + 1)
    ]
    current = {task.recipe_id for task in tasks}
    markers = [found[name] for name in names if name in found]
    finished = [marker for marker in markers if marker.recipe_id in current]
    return finished if len(finished) == len(names) else None


def _finish(
    config: CorpusConfig,
    ready: CorpusTokenizer,
    recipe: str,
    scattered: list[PartMarker],
    shards: list[PartMarker],
) -> CorpusManifest:
    """Writes the manifest, then removes work objects and shards of an earlier pack."""
    written = [marker for marker in shards if marker.objects]
    packed, counts = _sum_counts(scattered), _sum_counts(written)
    assert counts["documents"] == packed["packed"], f"pack: {counts} of {packed} documents"
    result = CorpusManifest(
        root=config.output,
        name=config.name,
        config=_portable(config),
        tokenizer=ready.entry,
        fingerprint=commit.fingerprint([ready.marker, *written, *fingerprint_markers(config)]),
        shards=pa.Table.from_pylist([_shard_row(marker) for marker in written], SHARDS),
    )
    manifest.write_manifest(result)
    _remove_others(config, shards)
    objects.delete_tree(config.path(".work", STAGE))
    seconds = {"scatter": sum(sum(marker.seconds.values()) for marker in scattered)}
    totals = dict(packed) | {name: counts[name] for name in ("docs", "tokens")}
    done = PartMarker(STAGE, SUMMARY, recipe, counts=totals, seconds=seconds)
    commit.write_marker(config.output, done)
    return result


def _shard_row(marker: PartMarker) -> dict[str, Any]:
    tar = marker.object("shards")
    split, _, name = marker.part.partition("/")
    stratum, _, number = name.rpartition("-")
    place = {"path": tar.path, "split": split, "stratum": stratum, "shard": int(number)}
    sizes = {name: marker.counts[name] for name in ("docs", "documents", "tokens", "text_bytes")}
    return {**place, "bytes": tar.bytes, **sizes, "sha256": tar.digest}


def _remove_others(config: CorpusConfig, shards: list[PartMarker]) -> None:
    """Removes what the manifest does not name: old shards and markers, remains of killed runs."""
    named = {written.path for marker in shards for written in marker.objects}
    named |= {f"{shard_path(marker.part)}.blocks.npy" for marker in shards if marker.objects}
    prefix = len(config.output) + 1
    objects.discard_unfinished(config.path(SHARDS_FOLDER))
    for info in objects.list_objects(config.path(SHARDS_FOLDER)):
        if info.path[prefix:] not in named:
            objects.delete(info.path)
    parts = {marker.part for marker in shards}
    for marker in commit.read_markers(config.output, STAGE):
        if marker.part not in parts:
            commit.delete_marker(config.output, STAGE, marker.part)


def _portable(config: CorpusConfig) -> dict[str, Any]:
    """The configuration without what is of this machine only."""
    fields = config.model_dump(mode="json", exclude={"output", "runner", "report"})
    for source in fields["sources"]:
        del source["paths"]
    for evaluation in fields["decontamination"]["evaluations"]:
        del evaluation["paths"]
    del fields["tokenizer"]["path"], fields["takedown"], fields["urls"], fields["annotate"]["terms"]
    del fields["annotate"]["language"]["model"], fields["annotate"]["perplexity"]
    return fields


def _sum_counts(markers: Iterable[PartMarker]) -> Counter[str]:
    total: Counter[str] = Counter()
    for marker in markers:
        total.update(marker.counts)
    return total
