"""From candidate pairs to `pairs/`: map-only steps that bring the two documents of a pair together.

    merge       candidates of a part: each pair once; results that `pairs/` still holds are reused
    signatures  each part sends the signatures that pairs ask for
    estimate    compare signatures; pairs near the threshold stay open
    shingles    each part reads its text once and sends the shingle sets that open pairs ask for
    pairs       compare shingle sets; write `pairs/<part>.parquet`, sorted by (doc_a, doc_b)

A pair belongs to the part of its higher address (`doc_b`), so its place depends on nothing else, a
later run finds it there, and what new documents add to old ones is written with the new. A task
holds the features of its own part's documents in memory and one piece from another part at a time;
both are bounded by the size of a part.

What a run writes depends on its inputs and settings alone: a result of an earlier run is reused
only where this run would compute the same, namely for unchanged texts and signatures an exact
similarity where one is asked for, and an estimate at the same threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.config import CorpusConfig
from pipelines.duplicates import band_shuffle, closure, hot_buckets
from pipelines.duplicates.candidates import PAIR, unique_pairs
from pipelines.duplicates.competing import MINHASH, Part, stage_markers
from pipelines.duplicates.features import Features, read_shingles, read_signatures
from pipelines.duplicates.known_pairs import KnownPairs, metadata_of
from pipelines.duplicates.pieces import (
    Piece,
    address_of,
    pieces_by_target,
    split_by_part,
    write_pieces,
)
from pipelines.duplicates.verification import (
    CONTAINMENT,
    ESTIMATE,
    EXACT,
    estimated_jaccard,
    exact_containment,
    exact_jaccard,
    is_undecided,
)
from pipelines.stages import Task, Work
from pipelines.views import view_editors, view_name
from pipelines.workplace import Workplace, run_step
from storage import commit, objects, tables
from storage.commit import PartMarker, WrittenObject
from storage.tables import PAIRS

STAGE = "pairs"
FIRST_LOOK, SECOND_LOOK = "-first-look", ""
"""What follows the recipe id in the markers of each; `pairs/` of the corpus has the second's."""
MERGED, SIGNATURES, ESTIMATED, SHINGLES = "merged", "signatures", "estimated", "shingles"
REQUESTS = "requests"
FIRST_SHINGLES = "first-shingles"
"""Shingle sets that the first look has read: nine in ten of those that the second asks for."""
SIMILARITIES = {"jaccard": exact_jaccard, "containment": exact_containment}

VERDICT = np.dtype([("a", "<u8"), ("b", "<u8"), ("jaccard", "<f8"), ("method", "<u8")])
OPEN, BY_ESTIMATE, BY_SHINGLES = 0, 1, 2
METHODS = {"jaccard": ["", ESTIMATE, EXACT], "containment": ["", "", CONTAINMENT]}
"""Of each similarity, in the order of these numbers."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """What all steps know."""

    place: Workplace
    parts: dict[int, Part]
    """By address (`pieces.address_of`)."""
    editors: dict[str, tuple[str, ...]]
    """Of the view of each source."""
    recipes: dict[int, str]
    """Recipe of each part's signatures, by address."""
    ngram: int
    shingle: str
    num_permutations: int
    similarity: str
    threshold: float
    keeps_known: bool
    look: str

    @property
    def uses_signatures(self) -> bool:
        """Whether signatures can decide a pair."""
        return self.similarity == "jaccard"

    def known_pairs(self, part: str) -> KnownPairs:
        """Results of an earlier run."""
        return self._read_pairs(self.place.output, part)

    def results(self, part: str) -> list[KnownPairs]:
        """Those of an earlier run, and of the first look of this one."""
        return [self._read_pairs(folder, part) for folder in (self.place.output, self.place.work)]

    def _read_pairs(self, folder: str, part: str) -> KnownPairs:
        path = objects.join(folder, STAGE, f"{part}.parquet")
        return KnownPairs.read(path, self.recipes, METHODS[self.similarity][1:])

    def view(self, part_a: Part, part_b: Part) -> str:
        """The view in which documents of two parts are compared, or each one's own."""
        names = [view_name(self.editors[part.source]) for part in (part_a, part_b)]
        return names[0] if names[0] == names[1] else "|".join(names)

    def marker(self, task: Task, stage: str, written: WrittenObject) -> PartMarker:
        return PartMarker(stage, task.part, self.place.recipe_id, [written])


def run(
    config: CorpusConfig,
    place: Workplace,
    parts: Sequence[Part],
    look: str,
    *,
    keeps_known: bool,
) -> None:
    """Verifies the candidates that the workplace holds.

    The first look, at those of LSH, leaves `pairs/` in the workplace. The second takes its results
    over, adds the candidates of `closure`, and writes `pairs/` of the corpus.

    With `keeps_known`, good results of earlier runs stay in the tables though nothing asks for
    them now; else the tables hold the pairs of this run alone.
    """
    place = replace(place, recipe_id=f"{place.recipe_id}{look}")
    verifier = _verifier(config, place, parts, look, keeps_known)
    temporary = config.model_copy(update={"output": place.work})

    def step(stage: str, work: Work, pieces: Mapping[int, list[Piece]]) -> None:
        tasks = [_task(part, place.recipe_id, stage, look, pieces) for part in parts]
        final = stage == STAGE and look == SECOND_LOOK
        run_step(config if final else temporary, stage, tasks, work)

    def sent(*stages: str) -> dict[int, list[Piece]]:
        addresses = {part.name: part.address for part in parts}
        markers = [marker for stage in stages for marker in commit.read_markers(place.work, stage)]
        return pieces_by_target(place.work, markers, addresses)

    later = [closure.STAGE] if look == SECOND_LOOK else []
    step(MERGED, Merge(verifier), sent(band_shuffle.STAGE, hot_buckets.STAGE, *later))
    step(SIGNATURES, Send(verifier, SIGNATURES), sent(MERGED))
    step(ESTIMATED, Estimate(verifier), sent(SIGNATURES))
    step(SHINGLES, Send(verifier, SHINGLES), sent(ESTIMATED))
    folder = place.work if look == FIRST_LOOK else place.output
    step(STAGE, WritePairs(verifier, folder), sent(SHINGLES))


@dataclass(frozen=True, slots=True)
class Merge:
    """Candidates of one part: each pair once, with the results that are known."""

    verifier: Verifier

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        found = [np.frombuffer(piece.read(), PAIR) for piece in _pieces(task)]
        pairs = unique_pairs(np.concatenate([np.empty(0, PAIR), *found]))
        verdicts = np.zeros(len(pairs), VERDICT)
        verdicts["a"], verdicts["b"] = pairs["a"], pairs["b"]
        for known in self.verifier.results(task.part):
            if known.threshold == self.verifier.threshold:
                _adopt(verdicts, np.arange(len(pairs)), known)
        ask = self.verifier.uses_signatures
        yield _write_verdicts(self.verifier, MERGED, task, verdicts, ask)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Signatures decide the pairs that are far from the threshold."""

    verifier: Verifier

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        verifier = self.verifier
        verdicts = _read_verdicts(verifier, MERGED, task.part)
        rows = np.flatnonzero(verdicts["method"] == OPEN)
        if verifier.uses_signatures:
            estimates = _compare(verdicts[rows], task, "<u4", estimated_jaccard)
            far = ~is_undecided(estimates, verifier.threshold, verifier.num_permutations)
            verdicts["jaccard"][rows[far]] = estimates[far]
            verdicts["method"][rows[far]] = BY_ESTIMATE
            rows = rows[~far]
        for known in verifier.results(task.part):
            _adopt(verdicts, rows, known.only_exact())
        yield _write_verdicts(verifier, ESTIMATED, task, verdicts)


@dataclass(frozen=True, slots=True)
class WritePairs:
    """Shingle sets decide the rest; the table of a part, complete and sorted."""

    verifier: Verifier
    folder: str
    """Where `pairs/` goes."""

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        verifier = self.verifier
        verdicts = _read_verdicts(verifier, ESTIMATED, task.part)
        rows = np.flatnonzero(verdicts["method"] == OPEN)
        measure = SIMILARITIES[verifier.similarity]
        verdicts["jaccard"][rows] = _compare(verdicts[rows], task, "<u8", measure)
        verdicts["method"][rows] = BY_SHINGLES
        if verifier.keeps_known:
            verdicts = _with_known(verdicts, verifier, task.part)
        metadata = metadata_of(verdicts, verifier.threshold, verifier.recipes)
        path = objects.join(self.folder, STAGE, f"{task.part}.parquet")
        table = _pairs_table(verifier, verifier.parts[task.payload["address"]], verdicts)
        stats = tables.write_table(path, table, PAIRS, metadata)
        written = WrittenObject.of_table(STAGE, task.part, stats)
        recipe = verifier.place.recipe_id
        yield PartMarker(STAGE, task.part, recipe, [written], _counts(verifier, verdicts))


@dataclass(frozen=True, slots=True)
class Send:
    """Features of one part's documents to the parts that ask for them."""

    verifier: Verifier
    features: str
    """SIGNATURES or SHINGLES."""

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        asked = [(piece.origin, _doc_ids_in(piece)) for piece in _pieces(task)]
        answers: Iterable[tuple[int, bytes]] = ()
        if asked:
            mine = self._read(task, np.unique(np.concatenate([wanted for _, wanted in asked])))
            answers = ((origin, mine.take(wanted).pack()) for origin, wanted in asked)
        work = self.verifier.place.work
        written = write_pieces(work, self.features, task.part, answers)
        yield self.verifier.marker(task, self.features, written)

    def _read(self, task: Task, doc_ids: npt.NDArray[np.uint64]) -> Features:
        verifier, output = self.verifier, self.verifier.place.output
        part = verifier.parts[task.payload["address"]]
        if self.features == SIGNATURES:
            return read_signatures(output, part, doc_ids)
        path = objects.join(verifier.place.work, FIRST_SHINGLES, f"{part.name}.features")
        if verifier.look == FIRST_LOOK:
            sets = self._read_shingles(part, doc_ids)
            objects.write(path, sets.pack())
            return sets
        if not objects.exists(path):
            return self._read_shingles(part, doc_ids)
        known = Features.unpack(objects.read(path), "<u8")
        known = known.take(np.intersect1d(doc_ids, known.doc_ids))
        return known.merge(self._read_shingles(part, np.setdiff1d(doc_ids, known.doc_ids)))

    def _read_shingles(self, part: Part, doc_ids: npt.NDArray[np.uint64]) -> Features:
        verifier = self.verifier
        editors, output = verifier.editors[part.source], verifier.place.output
        return read_shingles(output, part, editors, verifier.ngram, verifier.shingle, doc_ids)


def _verifier(
    config: CorpusConfig, place: Workplace, parts: Sequence[Part], look: str, keeps_known: bool
) -> Verifier:
    markers = stage_markers(config, MINHASH, parts)
    return Verifier(
        place,
        parts={part.address: part for part in parts},
        editors={source: view_editors(config, source) for source in {p.source for p in parts}},
        recipes={part.address: markers[part.name].recipe_id for part in parts},
        ngram=config.dedup.ngram,
        shingle=config.dedup.shingle,
        num_permutations=config.dedup.num_permutations,
        similarity=config.dedup.similarity,
        threshold=config.dedup.threshold,
        keeps_known=keeps_known,
        look=look,
    )


def _task(
    part: Part, recipe: str, stage: str, look: str, pieces: Mapping[int, list[Piece]]
) -> Task:
    mine = pieces.get(part.address, [])
    weight = sum(piece.num_bytes for piece in mine)
    if mine and stage == SHINGLES:
        num_read = part.num_docs if look == FIRST_LOOK else weight // 8  # ids of 8 bytes
        weight = part.num_bytes * min(num_read, part.num_docs) // part.num_docs
    payload = {"address": part.address, "pieces": [list(piece) for piece in mine]}
    return Task(part.name, recipe, weight, payload)


def _pieces(task: Task) -> list[Piece]:
    return [Piece(*fields) for fields in task.payload["pieces"]]


def _doc_ids_in(piece: Piece) -> npt.NDArray[np.uint64]:
    return np.frombuffer(piece.read(), "<u8")


def _compare(
    pairs: np.ndarray,
    task: Task,
    dtype: str,
    similarity: Callable[[np.ndarray, Features, Features], npt.NDArray[np.float64]],
) -> npt.NDArray[np.float64]:
    """The similarity of each pair, from the features that were sent to the task's part."""
    result = np.empty(len(pairs), np.float64)
    sent = {piece.origin: piece for piece in _pieces(task)}
    mine = task.payload["address"]
    own = Features.unpack(sent[mine].read(), dtype) if len(pairs) else None
    for origin, rows in split_by_part(np.arange(len(pairs)), pairs["a"]):
        assert own is not None
        other = own if origin == mine else Features.unpack(sent[origin].read(), dtype)
        result[rows] = similarity(pairs[rows], other, own)
    return result


def _with_known(verdicts: np.ndarray, verifier: Verifier, part: str) -> np.ndarray:
    """Verdicts of this run, and known results that it did not ask for, by (a, b)."""
    known = verifier.known_pairs(part)
    if known.threshold != verifier.threshold:
        known = known.only_exact()
    pairs = np.empty(len(verdicts), PAIR)
    pairs["a"], pairs["b"] = verdicts["a"], verdicts["b"]
    places = known.places_of(pairs)
    others = np.setdiff1d(np.arange(len(known.pairs)), places)
    more = np.zeros(len(others), VERDICT)
    more["a"], more["b"] = known.pairs["a"][others], known.pairs["b"][others]
    more["jaccard"] = known.jaccard[others]
    more["method"] = np.where(known.exact[others], BY_SHINGLES, BY_ESTIMATE)
    merged = np.concatenate([verdicts, more])
    return merged[np.lexsort((merged["b"], merged["a"]))]


def _adopt(verdicts: np.ndarray, rows: npt.NDArray[np.int64], known: KnownPairs) -> None:
    """Takes the known results of the pairs in `rows` over."""
    places = known.places_of(verdicts[rows])
    found = places >= 0
    verdicts["jaccard"][rows[found]] = known.jaccard[places[found]]
    exact = known.exact[places[found]]
    verdicts["method"][rows[found]] = np.where(exact, BY_SHINGLES, BY_ESTIMATE)


def _write_verdicts(
    verifier: Verifier, stage: str, task: Task, verdicts: np.ndarray, ask: bool = True
) -> PartMarker:
    """Stores the state of a part's pairs, and asks for the features of the open ones."""
    work = verifier.place.work
    objects.write(_verdicts_path(verifier, stage, task.part), verdicts.tobytes())
    waiting = verdicts[ask & (verdicts["method"] == OPEN)]
    wanted = np.union1d(waiting["a"], waiting["b"])
    requests = ((target, ids.tobytes()) for target, ids in split_by_part(wanted, wanted))
    written = write_pieces(work, objects.join(stage, REQUESTS), task.part, requests)
    return verifier.marker(task, stage, written)


def _read_verdicts(verifier: Verifier, stage: str, part: str) -> np.ndarray:
    return np.frombuffer(objects.read(_verdicts_path(verifier, stage, part)), VERDICT).copy()


def _verdicts_path(verifier: Verifier, stage: str, part: str) -> str:
    return objects.join(verifier.place.work, stage, f"{part}.verdicts")


def _counts(verifier: Verifier, verdicts: np.ndarray) -> dict[str, int]:
    return {
        "pairs": len(verdicts),
        "by_estimate": int((verdicts["method"] == BY_ESTIMATE).sum()),
        "by_shingles": int((verdicts["method"] == BY_SHINGLES).sum()),
        "accepted": int((verdicts["jaccard"] >= verifier.threshold).sum()),
    }


def _pairs_table(verifier: Verifier, part: Part, verdicts: np.ndarray) -> pa.Table:
    addresses, places = np.unique(address_of(verdicts["a"]), return_inverse=True)
    views = [verifier.view(verifier.parts[address], part) for address in addresses.tolist()]
    columns = {
        "doc_a": np.ascontiguousarray(verdicts["a"]),
        "doc_b": np.ascontiguousarray(verdicts["b"]),
        "jaccard": np.ascontiguousarray(verdicts["jaccard"]),
        "method": pa.array(METHODS[verifier.similarity]).take(
            pa.array(verdicts["method"].astype(np.int64))
        ),
        "view": pa.array(views, pa.string()).take(pa.array(places)),
    }
    arrays = [pa.array(columns[field.name], field.type) for field in PAIRS]
    return pa.Table.from_arrays(arrays, schema=PAIRS)
