"""Near-duplicates: candidates by LSH, verified, resolved in rank order.

Documents that an earlier decision or the exact stage drops do not compete, nor do documents
without shingles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelines.config import CorpusConfig
from pipelines.duplicates import (
    band_shuffle,
    closure,
    competing,
    decisions,
    edges,
    exact,
    pair_steps,
    scopes,
    survivors,
)
from pipelines.duplicates.competing import HASH, MINHASH, Part
from pipelines.duplicates.decisions import Decisions
from pipelines.duplicates.edges import EdgeFiles, PairsAbove
from pipelines.duplicates.generations import OTHER_SETTINGS, Generation, Standing
from pipelines.duplicates.ranking import (
    RANKED,
    ContentHashes,
    Ranking,
    best_first,
    is_validation,
    split_hashes,
)
from pipelines.duplicates.resolution import NONE, Resolution, resolve
from pipelines.duplicates.rounds import resolve_in_rounds
from pipelines.workplace import Workplace
from storage import commit, objects, tables
from storage.commit import PartMarker

STAGE = "decisions/fuzzy"
SUMMARY, ALL = "dedup", "all"
"""Stage and part of the marker with the counts over all parts."""
VERSION = 3
NEAR_DUPLICATE, NEAR_VALIDATION = "near_duplicate", "near_validation"
FIRST_EDGES, EDGES = "first-edges", "edges"
FIRST_ROUNDS, ROUNDS = "first-rounds", "rounds"
"""Names in the workplace, of the first look and of the last."""

RowsOf = Callable[[CorpusConfig, Part], npt.NDArray[np.bool_]]


class Layer(NamedTuple):
    """A stage that decides by pairs, on top of what the stage before it has decided."""

    stage: str
    before: str
    """The last stage of dedup before it; "" when there is none."""
    pairs: str
    """The stage that wrote its pairs."""
    threshold: float
    reason: str


def run(config: CorpusConfig, parts: Sequence[Part], generation: Generation) -> None:
    """Writes `pairs/` and `decisions/fuzzy/`; nothing when they are there under this recipe."""
    stages = competing.earlier_stages(config)
    stages += [exact.URL_STAGE] if config.dedup.url else []
    stages += [exact.STAGE] if config.dedup.exact else []
    recipe = recipe_of(config, stages, parts, generation)
    started = time.monotonic()
    place = Workplace.open(config, recipe)
    decided = decisions.is_finished(config, STAGE, parts, recipe)
    if decided and commit.is_finished(config.output, SUMMARY, ALL, recipe):
        place.remove()
        return
    ranking = rank_documents(config, parts, stages, generation)
    is_scoped = ranking.scopes is not None
    place = replace(place, num_standing=ranking.num_standing, is_scoped=is_scoped)
    if not decisions.is_finished(config, pair_steps.STAGE, parts, recipe):
        write_ranks(place, parts, ranking)
        find_pairs(config, place, parts, ranking, keeps_known=generation.is_append)
    layer = _layer(config)
    links = standing_links(parts, ranking, generation)
    resolution = resolve_layer(config, place, layer, parts, ranking, links)
    copies = count_copies(config, layer, parts, ranking, resolution, generation)
    commit.delete_marker(config.output, SUMMARY, ALL)
    for part in parts:
        num_competing = int(competing.competing_rows(config, part, stages).sum())
        standing = generation.of(part) if generation.is_append else None
        fates = decide_part(config, layer, part, ranking, resolution, copies, standing)
        decisions.write_decisions(config, STAGE, part, recipe, fates, num_competing)
    counts = {"ranked": len(ranking.doc_ids), **band_shuffle.bucket_counts(place)}
    seconds = {"fuzzy": time.monotonic() - started}
    commit.write_marker(config.output, PartMarker(SUMMARY, ALL, recipe, [], counts, seconds))
    place.remove()


def _layer(config: CorpusConfig) -> Layer:
    before = exact.URL_STAGE if config.dedup.url else ""
    before = exact.STAGE if config.dedup.exact else before
    return Layer(STAGE, before, pair_steps.STAGE, config.dedup.threshold, NEAR_DUPLICATE)


def find_pairs(
    config: CorpusConfig,
    place: Workplace,
    parts: Sequence[Part],
    ranking: Ranking,
    *,
    keeps_known: bool,
) -> None:
    """Writes `pairs/`: candidates by LSH, and those that only a second look finds."""
    num_rows = len(ranking.doc_ids)
    if ranking.scopes is not None:  # validation documents have a row in each scope
        num_rows += int(ranking.validation.sum()) * (len(np.unique(ranking.scopes)) - 1)
    band_shuffle.run_passes(config, place, parts, num_rows)
    pair_steps.run(config, place, parts, pair_steps.FIRST_LOOK, keeps_known=False)
    first_look = config.model_copy(update={"output": place.work})
    accepted = _write_edges(first_look, place, _layer(config), parts, ranking, FIRST_EDGES)
    resolution = _resolve(first_look, place, ranking, accepted, FIRST_ROUNDS)
    closure.write_candidates(
        place, ranking, resolution, accepted.batches, config.dedup.memory_bytes
    )
    pair_steps.run(config, place, parts, pair_steps.SECOND_LOOK, keeps_known=keeps_known)


class _RankKeys(NamedTuple):
    """What ranks documents, by doc_id."""

    doc_ids: npt.NDArray[np.uint64]
    high: npt.NDArray[np.uint64]
    low: npt.NDArray[np.uint64]
    policy: npt.NDArray[np.uint64]
    standing: npt.NDArray[np.bool_]
    scope: npt.NDArray[np.uint64]


def has_shingles(config: CorpusConfig, part: Part) -> npt.NDArray[np.bool_]:
    path = config.path(MINHASH, f"{part.name}.parquet")
    return tables.read_table(path, ["num_shingles"])["num_shingles"].to_numpy() > 0


def rank_documents(
    config: CorpusConfig,
    parts: Sequence[Part],
    stages: Sequence[str],
    generation: Generation,
    can_compete: RowsOf = has_shingles,
) -> Ranking:
    """Ranks the documents that no stage of `stages` drops and that have something to compare.

    Those that an earlier generation dropped take no part.
    """
    doc_ids, high, low, policy, standing, scope = _rank_keys(
        config, parts, stages, generation, can_compete
    )
    hashes = ContentHashes(high, low)
    num_standing = int(standing.sum())
    ties = None
    by_scope = scope if config.dedup.scope != "global" else None
    if not config.dedup.exact or by_scope is not None:  # equal hashes: source and record decide
        rows, groups = exact.repeated_rows(hashes)
        order = exact.order_equals(config, parts, doc_ids[rows], groups, standing[rows], "")
        ties = np.zeros(len(doc_ids), np.uint64)
        ties[rows[order]] = np.arange(len(rows), dtype=np.uint64)
    validation = is_validation(high, config.pack.validation_fraction)
    order = best_first(validation, policy, hashes, ties, standing)
    del hashes, high, low, policy, ties, standing  # 25 bytes a document
    return Ranking.in_order(doc_ids, order, validation, num_standing, by_scope)


def resolve_layer(
    config: CorpusConfig,
    place: Workplace,
    layer: Layer,
    parts: Sequence[Part],
    ranking: Ranking,
    links: npt.NDArray[np.uint32],
) -> Resolution:
    """Decides the ranked documents by all pairs of a layer; `links` as for `resolve`."""
    accepted = _write_edges(config, place, layer, parts, ranking, EDGES)
    return _resolve(config, place, ranking, accepted, ROUNDS, links)


def _write_edges(
    config: CorpusConfig,
    place: Workplace,
    layer: Layer,
    parts: Sequence[Part],
    ranking: Ranking,
    stage: str,
) -> EdgeFiles:
    pairs = PairsAbove(layer.pairs, layer.threshold)
    return edges.write_edges(config, place, pairs, parts, ranking, stage)


def _resolve(
    config: CorpusConfig,
    place: Workplace,
    ranking: Ranking,
    accepted: EdgeFiles,
    stage: str,
    links: npt.NDArray[np.uint32] | None = None,
) -> Resolution:
    """In this process or, where there are many edges, in rounds on all; the outcome is the same."""
    num_docs = len(ranking.doc_ids)
    if accepted.num_edges > config.dedup.max_resolve_edges:
        return resolve_in_rounds(config, place, num_docs, accepted, stage, links)
    return resolve(num_docs, accepted.batches(), links)


def write_ranks(place: Workplace, parts: Sequence[Part], ranking: Ranking) -> None:
    """Each part's share of the ranking, for the workers that read its bands."""
    for part in parts:
        doc_ids, ranks = ranking.table.of_part(part.address)
        rows = np.empty(len(doc_ids), RANKED)
        rows["doc_id"], rows["rank"] = doc_ids, ranks
        objects.write(place.ranks_path(part.name), rows.tobytes())
        if ranking.scopes is not None:
            scopes.write(place.work, part, ranking.scopes[ranks], ranking.validation[ranks])
    if ranking.scopes is not None:
        scopes.write_every(place.work, np.unique(ranking.scopes))


def recipe_of(
    config: CorpusConfig, stages: Sequence[str], parts: Sequence[Part], generation: Generation
) -> str:
    settings = config.dedup.model_dump(exclude=OTHER_SETTINGS) | survivors.settings(config)
    settings["history"] = generation.history
    settings["validation_fraction"] = config.pack.validation_fraction
    inputs = [*survivors.inputs(config), HASH, MINHASH, *stages]
    digest = competing.inputs_digest(config, inputs, parts)
    return commit.recipe_id(STAGE, VERSION, settings, [digest])


def _rank_keys(
    config: CorpusConfig,
    parts: Sequence[Part],
    stages: Sequence[str],
    generation: Generation,
    can_compete: RowsOf,
) -> _RankKeys:
    """The keys of all parts, put in place part by part: half the memory of concatenating them."""
    num_docs = sum(part.num_docs for part in parts)
    is_scoped = config.dedup.scope != "global"
    dtypes = (np.uint64, np.uint64, np.uint64, np.uint64, bool, np.uint64)
    sizes = (num_docs,) * 5 + (num_docs if is_scoped else 0,)
    keys = _RankKeys._make(map(np.empty, sizes, dtypes))
    filled = 0
    for part in parts:
        mine = _rank_keys_of_part(config, part, stages, generation, can_compete)
        end = filled + len(mine.doc_ids)
        for column, values in zip(keys, mine, strict=True):
            column[filled:end] = values
        filled = end
    return _RankKeys._make(column[:filled] for column in keys)


def _rank_keys_of_part(
    config: CorpusConfig,
    part: Part,
    stages: Sequence[str],
    generation: Generation,
    can_compete: RowsOf,
) -> _RankKeys:
    rows = competing.competing_rows(config, part, stages) & can_compete(config, part)
    standing = generation.of(part) if generation.is_append else None
    kept = np.zeros(part.num_docs, bool)
    if standing:
        rows &= ~standing.dropped
        kept = standing.kept
    table = tables.read_table(config.path(HASH, f"{part.name}.parquet"), ["content_hash"])
    hashes = split_hashes(table["content_hash"])
    policy = survivors.policy_of(config, part)[rows]
    hashes_of_rows = part.doc_ids[rows], hashes.high[rows], hashes.low[rows]
    scope = np.empty(0, np.uint64)
    if config.dedup.scope != "global":
        scope = scopes.scopes_of(config, part)[rows]
    return _RankKeys(*hashes_of_rows, policy, kept[rows], scope)


def count_copies(
    config: CorpusConfig,
    layer: Layer,
    parts: Sequence[Part],
    ranking: Ranking,
    resolution: Resolution,
    generation: Generation,
) -> npt.NDArray[np.uint32]:
    """By rank: the documents that each kept one stands for, those of earlier stages included."""
    copies = np.ones(len(ranking.doc_ids), np.uint32)
    for part in parts if layer.before else ():
        ranks = ranking.ranks_of(part.doc_ids)
        copies_before = decisions.read_decisions(config, layer.before, part).num_copies
        copies[ranks[ranks >= 0]] = copies_before[ranks >= 0]
    for part in parts if generation.is_append else ():
        standing = generation.of(part)
        ranks = ranking.ranks_of(standing.survivor[standing.dropped_by(_name(layer))])
        np.add.at(copies, ranks[ranks >= 0], np.uint32(1))
    dropped = np.flatnonzero(resolution.dropped)
    np.add.at(copies, resolution.survivor[dropped], copies[dropped])
    copies[dropped] = 0
    return copies


def _name(layer: Layer) -> str:
    return layer.stage.rpartition("/")[2]


def standing_links(
    parts: Sequence[Part], ranking: Ranking, generation: Generation
) -> npt.NDArray[np.uint32]:
    """Ranks of documents of one cluster in an earlier generation, uint32[links, 2]."""
    if not generation.is_append:
        return np.empty((0, 2), np.uint32)
    clusters = np.zeros(ranking.num_standing, np.uint64)
    for part in parts:
        standing, ranks = generation.of(part), ranking.ranks_of(part.doc_ids)
        rows = standing.kept & (ranks >= 0)
        clusters[ranks[rows]] = standing.cluster[rows]
    order = np.argsort(clusters, kind="stable").astype(np.uint32)
    same = np.flatnonzero(clusters[order[1:]] == clusters[order[:-1]])
    return np.stack([order[same], order[same + 1]], axis=1)


def _apply(standing: Standing, fates: Decisions, name: str) -> None:
    """Takes over what earlier generations dropped; exact duplicates keep their similarity."""
    rows = standing.dropped
    fates.survivor[rows] = standing.survivor[rows]
    fates.cluster[rows] = standing.survivor[rows]
    fates.similarity[rows] = standing.similarity[rows]
    near = standing.dropped_by(name)
    fates.reason[near] = standing.reason[near]
    fates.num_copies[near] = 0


def decide_part(
    config: CorpusConfig,
    layer: Layer,
    part: Part,
    ranking: Ranking,
    resolution: Resolution,
    copies: npt.NDArray[np.uint32],
    standing: Standing | None,
) -> Decisions:
    """Fates of one part's rows; what was dropped before shares the fate of its survivor."""
    fates = Decisions.none(part.doc_ids)
    if layer.before:
        fates = decisions.read_decisions(config, layer.before, part)
        fates = fates._replace(reason=np.full(part.num_docs, "", fates.reason.dtype))
    if standing:
        _apply(standing, fates, _name(layer))
    own = ranking.ranks_of(part.doc_ids)
    fates.num_copies[own >= 0] = copies[own[own >= 0]]
    ranks = ranking.ranks_of(fates.survivor)  # of the document itself, or of the one it repeats
    ranked = np.flatnonzero(ranks >= 0)
    fates.cluster[ranked] = ranking.doc_ids[resolution.cluster[ranks[ranked]]]
    lost = ranked[resolution.survivor[ranks[ranked]] != NONE]
    survivors = resolution.survivor[ranks[lost]]
    fates.survivor[lost] = ranking.doc_ids[survivors]
    fates.similarity[lost] = resolution.similarity[ranks[lost]]
    near_validation = ranking.validation[survivors] & ~ranking.validation[ranks[lost]]
    competes = own[lost] >= 0
    reasons = np.where(near_validation, NEAR_VALIDATION, layer.reason)
    fates.reason[lost[competes]] = reasons[competes]
    return fates
