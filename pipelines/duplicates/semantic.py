"""Semantic duplicates: documents whose embeddings are close (SemDeDup, arXiv:2303.09540).

    signals/embedding -> clusters -> semantic_pairs/ -> decisions/semantic

K-means cuts the documents that the stages before keep into clusters, and documents of one cluster
whose cosine reaches the threshold are duplicates. As for near-duplicates, a document is dropped
only for a kept one that it resembles itself, and rank decides which is kept. (SemDeDup takes
connected components, and of each keeps the document farthest from the centroid.)

Two documents in different clusters are not compared. Everything after the embeddings is exact
arithmetic on whole numbers: the outcome depends on the stored vectors, not on parts or processors.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.config import CorpusConfig
from pipelines.duplicates import (
    clusters,
    competing,
    decisions,
    exact,
    fuzzy,
    survivors,
)
from pipelines.duplicates.cluster_pairs import COMPARED, Compare, WritePairs
from pipelines.duplicates.cluster_pairs import STAGE as PAIRS_STAGE
from pipelines.duplicates.clusters import ASSIGNED, EMBEDDING, Assign
from pipelines.duplicates.competing import HASH, Part
from pipelines.duplicates.fuzzy import Layer
from pipelines.duplicates.generations import Generation
from pipelines.duplicates.pieces import Piece, pieces_by_target
from pipelines.duplicates.ranking import Ranking
from pipelines.embedding import num_dimensions
from pipelines.stages import Task
from pipelines.views import view_editors
from pipelines.workplace import Workplace, run_step
from storage import commit, objects
from storage.commit import PartMarker

STAGE = "decisions/semantic"
SUMMARY, ALL = "semantic", "all"
"""Stage and part of the marker with the counts over all parts."""
VERSION = 1
REASON = "semantic_duplicate"
WORK = ".work/semantic"


def run(config: CorpusConfig, parts: Sequence[Part], generation: Generation) -> None:
    """Writes `semantic_pairs/` and `decisions/semantic/`; nothing when they are there."""
    stages = competing.earlier_stages(config)
    dedup_stages = [exact.URL_STAGE] if config.dedup.url else []
    dedup_stages += [exact.STAGE] if config.dedup.exact else []
    dedup_stages += [fuzzy.STAGE] if config.dedup.fuzzy else []
    stages += dedup_stages
    recipe = _recipe(config, stages, parts, generation)
    started = time.monotonic()
    decided = decisions.is_finished(config, STAGE, parts, recipe)
    if decided and commit.is_finished(config.output, SUMMARY, ALL, recipe):
        objects.delete_tree(config.path(WORK))
        return
    layer = _layer(config, dedup_stages)
    ranking = fuzzy.rank_documents(config, parts, stages, generation, clusters.has_vector)
    place = Workplace(
        config.output,
        config.path(WORK, recipe),
        recipe,
        num_standing=ranking.num_standing,
        is_scoped=ranking.scopes is not None,
    )
    counts = find_pairs(config, place, parts, ranking)
    links = np.concatenate(
        [
            fuzzy.standing_links(parts, ranking, generation),
            _links_before(config, layer, parts, ranking),
        ]
    )
    resolution = fuzzy.resolve_layer(config, place, layer, parts, ranking, links)
    copies = fuzzy.count_copies(config, layer, parts, ranking, resolution, generation)
    commit.delete_marker(config.output, SUMMARY, ALL)
    for part in parts:
        num_competing = int(competing.competing_rows(config, part, stages).sum())
        standing = generation.of(part) if generation.is_append else None
        fates = fuzzy.decide_part(config, layer, part, ranking, resolution, copies, standing)
        decisions.write_decisions(config, STAGE, part, recipe, fates, num_competing)
    seconds = {"semantic": time.monotonic() - started}
    commit.write_marker(config.output, PartMarker(SUMMARY, ALL, recipe, [], counts, seconds))
    objects.delete_tree(config.path(WORK))


def forget(config: CorpusConfig) -> None:
    """Removes what the stage wrote before it was switched off."""
    decisions.forget(config, STAGE)
    decisions.forget(config, PAIRS_STAGE)
    commit.delete_marker(config.output, SUMMARY, ALL)


def find_pairs(
    config: CorpusConfig, place: Workplace, parts: Sequence[Part], ranking: Ranking
) -> dict[str, int]:
    """Writes `semantic_pairs/`; returns the counts of the summary."""
    semantic = config.dedup.semantic
    assert semantic is not None
    size, num_docs = num_dimensions(semantic), len(ranking.doc_ids)
    temporary = config.model_copy(update={"output": place.work})
    recipe = place.recipe_id
    fuzzy.write_ranks(place, parts, ranking)
    num_clusters = clusters.train(config, place, parts, ranking)
    buckets = clusters.num_buckets(num_clusters, num_docs, size)

    embedding = competing.stage_markers(config, EMBEDDING, parts)
    tasks = [
        Task(part.name, recipe, embedding[part.name].object(EMBEDDING).bytes, part.to_payload())
        for part in parts
    ]
    run_step(temporary, ASSIGNED, tasks, Assign(place, size, buckets))

    sent = _sent(place, ASSIGNED)
    tasks = [
        Task(f"bucket-{number:07d}", recipe, *_work(sent.get(number, [])))
        for number in range(buckets)
    ]
    compare = Compare(place, size, semantic.threshold, config.dedup.memory_bytes)
    run_step(temporary, COMPARED, tasks, compare)

    sent = _sent(place, COMPARED)
    tasks = [Task(part.name, recipe, *_work(sent.get(part.address, []))) for part in parts]
    for task, part in zip(tasks, parts, strict=True):
        task.payload["part"] = part.to_payload()
    editors = {source: view_editors(config, source) for source in {p.source for p in parts}}
    sources = {part.address: part.source for part in parts}
    run_step(config, PAIRS_STAGE, tasks, WritePairs(config.output, editors, sources))
    return {"documents": num_docs, "clusters": num_clusters, **_counts(place)}


def _layer(config: CorpusConfig, dedup_stages: Sequence[str]) -> Layer:
    assert config.dedup.semantic is not None
    before = dedup_stages[-1] if dedup_stages else ""
    return Layer(STAGE, before, PAIRS_STAGE, config.dedup.semantic.threshold, REASON)


def _recipe(
    config: CorpusConfig, stages: Sequence[str], parts: Sequence[Part], generation: Generation
) -> str:
    values = clusters.settings(config) | survivors.settings(config)
    values["history"] = generation.history
    values["scope"] = config.dedup.scope
    values["seed"] = config.dedup.seed
    values["validation_fraction"] = config.pack.validation_fraction
    inputs = [*survivors.inputs(config), HASH, EMBEDDING, *stages]
    digest = competing.inputs_digest(config, inputs, parts)
    return commit.recipe_id(STAGE, VERSION, values, [digest])


def _sent(place: Workplace, stage: str) -> dict[int, list[Piece]]:
    return pieces_by_target(place.work, commit.read_markers(place.work, stage), {})


def _work(pieces: Sequence[Piece]) -> tuple[int, dict[str, object]]:
    """Weight and payload of a task that reads pieces."""
    weight = sum(piece.num_bytes for piece in pieces)
    return weight, {"pieces": [list(piece) for piece in pieces]}


def _counts(place: Workplace) -> dict[str, int]:
    total: Counter[str] = Counter({"clusters_in_blocks": 0})
    largest = 0
    for marker in commit.read_markers(place.work, COMPARED):
        total["clusters_in_blocks"] += marker.counts.get("clusters_in_blocks", 0)
        largest = max(largest, marker.counts.get("largest_cluster", 0))
    return {**total, "largest_cluster": largest}


def _links_before(
    config: CorpusConfig, layer: Layer, parts: Sequence[Part], ranking: Ranking
) -> npt.NDArray[np.uint32]:
    """Ranks of documents that one cluster of the stage before holds, uint32[links, 2]."""
    best, members = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for part in parts if layer.before else ():
        cluster = decisions.read_decisions(config, layer.before, part).cluster
        ranks = ranking.ranks_of(part.doc_ids)
        rows = np.flatnonzero((ranks >= 0) & (cluster != part.doc_ids))
        best.append(ranking.ranks_of(cluster[rows]))
        members.append(ranks[rows])
    links = np.stack([np.concatenate(best), np.concatenate(members)], axis=1)
    return links[links[:, 0] >= 0].astype(np.uint32)
