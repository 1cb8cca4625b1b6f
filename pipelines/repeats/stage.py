"""Spans of text that other kept documents hold too, as edits that dedup writes.

    kept documents -> units, grouped per part -> one shuffle of packed hashes -> edits/<name>/

    edits/repeated_lines        all but the first copy of a line
    edits/repeated_paragraphs   ... of a paragraph
    edits/repeated_sentences    ... of a span of three sentences
    edits/boilerplate           lines that many documents of one domain hold: all copies
    edits/repeated_words        all but the first copy of any run of `words` words or more

Text is never changed: pack and export read the documents without these spans. The first copy is
that of the best-ranked document (validation, survivor policy, content hash). Units are looked for
in the stored text of all kept documents, whatever `dedup.mode` is.

Memory holds the units of one part (36 bytes each) and one pass of the shuffle (32 bytes for each
distinct unit of a part). For `words` two shuffles: of anchors, 4 in `words` places, then of the
windows around anchors that repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from filters import repeated_units, urls
from filters.columns import text_bytes
from filters.repeated_units import Units, Words, anchor_words
from pipelines import ingest
from pipelines.config import CorpusConfig, RepeatsConfig
from pipelines.duplicates import competing, decisions, exact, survivors
from pipelines.duplicates.competing import HASH, Part
from pipelines.duplicates.pieces import Piece, pieces_by_target
from pipelines.duplicates.ranking import ContentHashes, Ranking, is_validation, split_hashes
from pipelines.repeats import shuffle
from pipelines.repeats.groups import CUT, ROW, SPAN, Rule, group_units, joined, spans_to_cut
from pipelines.stages import Task, Work
from pipelines.workplace import Workplace, run_step
from storage import commit, objects, tables
from storage.commit import PartMarker, WrittenObject
from storage.tables import EDITS

VERSION = 1
FINAL = "decisions/final"
WORK = ".work/repeats"
NAMES = {
    "lines": "repeated_lines",
    "paragraphs": "repeated_paragraphs",
    "sentences": "repeated_sentences",
    "boilerplate": "boilerplate",
    "words": "repeated_words",
}
"""Setting of `dedup.repeats` -> table below `edits/` and reason of its spans."""
WHOLE = "repeated_document"
ANCHORS = "anchors"
NOT_KEPT = np.uint32(0xFFFFFFFF)

UnitsOf = Callable[[Words], Units]


def kinds(config: CorpusConfig) -> list[str]:
    """What is looked for, in order."""
    return [kind for kind in NAMES if getattr(config.dedup.repeats, kind)]


def editors(config: CorpusConfig) -> list[str]:
    """Tables of `edits/` that the stage writes."""
    return [NAMES[kind] for kind in kinds(config)]


def run(config: CorpusConfig, parts: Sequence[Part]) -> None:
    """Writes the edits that are asked for, unless they are there; removes the others."""
    for kind in set(NAMES) - set(kinds(config)):
        decisions.forget(config, edits_stage(kind))
    if not kinds(config):
        objects.delete_tree(config.path(WORK))
        return
    recipe = _recipe(config, parts)
    if all(decisions.is_finished(config, edits_stage(k), parts, recipe) for k in kinds(config)):
        objects.delete_tree(config.path(WORK))
        return
    place = Workplace(config.output, config.path(WORK, recipe), recipe)
    temporary = config.model_copy(update={"output": place.work})

    def step(stage: str, work: Work, pieces: dict[int, list[Piece]] | None = None) -> None:
        run_step(temporary, stage, _tasks(parts, recipe, pieces or {}), work)

    _write_ranks(config, place, parts)
    first = [ANCHORS if kind == "words" else kind for kind in kinds(config)]
    step("collect", Collect(config, place, tuple(first)))
    for kind in first:
        shuffle.run(config, place, parts, kind, _rule(config.dedup.repeats, kind))
    if ANCHORS in first:
        step("windows", Windows(config, place), _cuts(place, ANCHORS))
        shuffle.run(config, place, parts, "words", _rule(config.dedup.repeats, "words"))
    cuts = {kind: _cuts(place, kind) for kind in kinds(config)}
    tasks = _tasks(parts, recipe, {})
    for number, task in enumerate(tasks):
        pieces = {kind: [list(piece) for piece in cuts[kind].get(number, [])] for kind in cuts}
        task.payload["cuts"] = pieces
    run_step(temporary, "edits", tasks, WriteEdits(config, place))
    objects.delete_tree(config.path(WORK))


def edits_stage(kind: str) -> str:
    return f"edits/{NAMES[kind]}"


@dataclass(frozen=True, slots=True)
class Collect:
    """The units of one part's kept documents; its text is read once for all kinds."""

    config: CorpusConfig
    place: Workplace
    kinds: tuple[str, ...]

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        number, part = task.payload["number"], Part(**task.payload["part"])
        ranks = _read_ranks(self.place, part.name)
        found: dict[str, list[Units]] = {kind: [] for kind in self.kinds}
        sizes = np.zeros(part.num_docs, np.uint64)
        for rows, batch in _kept_text(self.config, part.name, ranks):
            words = Words.of(batch.column("text"))
            sizes[rows] = np.diff(text_bytes(batch.column("text")).offsets)
            for kind in self.kinds:
                units = _units_of(self.config.dedup.repeats, kind)(words)
                if kind == "boilerplate":
                    units = _by_domain(units, batch.column("url"))
                found[kind].append(units.of_rows(rows))
        for kind in self.kinds:
            per_document = _rule(self.config.dedup.repeats, kind).per_document
            _write_groups(self.place, kind, part.name, number, found[kind], ranks, per_document)
        objects.write(objects.join(self.place.work, "sizes", f"{part.name}.bin"), sizes.tobytes())
        yield PartMarker("collect", task.part, task.recipe_id)


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of one part that hold an anchor which occurs elsewhere too."""

    config: CorpusConfig
    place: Workplace

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        number, part = task.payload["number"], Part(**task.payload["part"])
        ranks = _read_ranks(self.place, part.name)
        repeated = _named_spans(self.place, ANCHORS, part.name, task.payload["pieces"])
        num_words = self.config.dedup.repeats.words
        found: list[Units] = []
        for rows, batch in _kept_text(self.config, part.name, ranks):
            here = repeated[np.isin(repeated["row"], rows)]
            if len(here):
                kept = np.isin(rows, here["row"])
                words = Words.of(batch.column("text").filter(pa.array(kept)))
                units = repeated_units.windows(words, num_words).of_rows(rows[kept])
                found.append(_around(units, here, num_words))
        _write_groups(self.place, "words", part.name, number, found, ranks, False)
        yield PartMarker("windows", task.part, task.recipe_id)


@dataclass(frozen=True, slots=True)
class WriteEdits:
    """The tables of one part."""

    config: CorpusConfig
    place: Workplace

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        output, name = self.config.output, task.payload["part"]["name"]
        found = {
            kind: joined(_named_spans(self.place, kind, name, pieces))
            for kind, pieces in task.payload["cuts"].items()
        }
        whole = _mostly_repeated(self.config, self.place, name, list(found.values()))
        for kind, spans in found.items():
            stage = edits_stage(kind)
            commit.delete_marker(output, stage, name)
            table = _edits_table(spans, whole, NAMES[kind])
            stats = tables.write_table(objects.join(output, stage, f"{name}.parquet"), table, EDITS)
            counts = {
                "spans": table.num_rows,
                "bytes": int((spans["end"] - spans["start"]).sum()),
                "documents": len(np.unique(spans["row"])),
                "whole_documents": len(whole),
            }
            written = WrittenObject.of_table(stage, name, stats)
            marker = PartMarker(stage, name, task.recipe_id, [written], counts)
            commit.write_marker(output, marker)
        yield PartMarker("edits", task.part, task.recipe_id)


def _recipe(config: CorpusConfig, parts: Sequence[Part]) -> str:
    settings = {
        "repeats": config.dedup.repeats.model_dump(),
        "validation_fraction": config.pack.validation_fraction,
        "units": repeated_units.VERSION,
        **survivors.settings(config),
    }
    inputs = {ingest.STAGE, HASH, FINAL, *survivors.inputs(config)}
    digest = competing.inputs_digest(config, sorted(inputs), parts)
    return commit.recipe_id("repeats", VERSION, settings, [digest])


def _rule(repeats: RepeatsConfig, kind: str) -> Rule:
    min_count = 2 if kind in ("words", ANCHORS) else getattr(repeats, kind)
    keeps_first = kind not in ("boilerplate", ANCHORS)
    return Rule(min_count, kind == "boilerplate", keeps_first)


def _units_of(repeats: RepeatsConfig, kind: str) -> UnitsOf:
    if kind == ANCHORS:
        return lambda words: repeated_units.anchors(words, repeats.words)
    of = repeated_units.lines if kind == "boilerplate" else getattr(repeated_units, kind)
    return lambda words: of(words, repeats.min_words)


def _write_ranks(config: CorpusConfig, place: Workplace, parts: Sequence[Part]) -> None:
    """The rank of each kept document, for the tasks of its part."""
    kept = [
        tables.read_table(config.path(FINAL, f"{part.name}.parquet"), ["kept"])["kept"].to_numpy()
        for part in parts
    ]
    ids, high, low, policy = [], [], [], []
    for part, rows in zip(parts, kept, strict=True):
        path = config.path(HASH, f"{part.name}.parquet")
        hashes = split_hashes(tables.read_table(path, ["content_hash"])["content_hash"])
        ids.append(part.doc_ids[rows])
        high.append(hashes.high[rows])
        low.append(hashes.low[rows])
        policy.append(survivors.policy_of(config, part)[rows])
    none = [np.empty(0, np.uint64)]
    addresses, highs, lows, policies = (
        np.concatenate([*none, *column]) for column in (ids, high, low, policy)
    )
    hashes = ContentHashes(highs, lows)
    rows, groups = exact.repeated_rows(hashes)
    new = np.zeros(len(rows), bool)
    ties = np.zeros(len(addresses), np.uint64)
    order = exact.order_equals(config, parts, addresses[rows], groups, new, "")
    ties[rows[order]] = np.arange(len(rows), dtype=np.uint64)
    validation = is_validation(highs, config.pack.validation_fraction)
    ranking = Ranking.of(addresses, validation, policies, hashes, ties)
    for part, mine in zip(parts, kept, strict=True):
        ranks = np.full(part.num_docs, NOT_KEPT, np.uint32)
        ranks[mine] = ranking.ranks_of(part.doc_ids[mine])
        objects.write(place.ranks_path(part.name), ranks.tobytes())


def _read_ranks(place: Workplace, part: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(objects.read(place.ranks_path(part)), np.uint32)


def _kept_text(
    config: CorpusConfig, part: str, ranks: npt.NDArray[np.uint32]
) -> Iterator[tuple[npt.NDArray[np.int64], pa.RecordBatch]]:
    """Row numbers within the part and text and URL of kept documents, batch by batch."""
    first = 0
    path = config.path("documents", f"{part}.parquet")
    for batch in tables.iter_batches(path, ["text", "url"]):
        rows = np.flatnonzero(ranks[first : first + batch.num_rows] != NOT_KEPT)
        if len(rows):
            yield rows + first, batch.take(pa.array(rows))
        first += batch.num_rows


def _by_domain(units: Units, url: pa.Array) -> Units:
    """Equal only within a domain; documents without a URL take no part."""
    hosts = [urls.normalise(one or "").partition("/")[0] for one in url.to_pylist()]
    hashes = np.array([xxhash.xxh3_64_intdigest(host.encode()) for host in hosts], np.uint64)
    has_one = np.array([bool(host) for host in hosts], bool)[units.rows]
    mixed = units._replace(high=units.high ^ hashes[units.rows])
    return mixed.take(has_one)


def _around(units: Units, anchors: np.ndarray, num_words: int) -> Units:
    """The windows that hold one of `anchors`, whose starts are word numbers."""
    first = np.searchsorted(units.rows, units.rows)  # where the row's windows start
    number = np.arange(len(units.rows)) - first
    wide = np.int64(1) << 40
    place = units.rows * wide + number
    anchor = np.sort(anchors["row"].astype(np.int64) * wide + anchors["start"].astype(np.int64))
    following = np.searchsorted(anchor, place)
    ahead = np.append(anchor, np.iinfo(np.int64).max)[following] - place
    held = ahead <= num_words - anchor_words(num_words)
    return units.take(held)


def _write_groups(
    place: Workplace,
    kind: str,
    part: str,
    number: int,
    found: Sequence[Units],
    ranks: npt.NDArray[np.uint32],
    per_document: bool,
) -> None:
    rows, spans = group_units(Units.joined(found), ranks, number, per_document)
    objects.write(shuffle.rows_path(place, kind, part), rows.astype(ROW).tobytes())
    objects.write(_spans_path(place, kind, part), spans.tobytes())


def _named_spans(
    place: Workplace, kind: str, part: str, pieces: Sequence[Sequence[object]]
) -> np.ndarray:
    """The spans that what other parts hold makes this part cut."""
    spans = np.frombuffer(objects.read(_spans_path(place, kind, part)), SPAN)
    data = [Piece(*piece).read() for piece in pieces]  # pyright: ignore[reportArgumentType]
    return spans_to_cut(spans, np.frombuffer(b"".join(data), CUT))


def _mostly_repeated(
    config: CorpusConfig, place: Workplace, part: str, many: Sequence[np.ndarray]
) -> np.ndarray:
    """A SPAN over all of each document that would lose too much."""
    limit = config.dedup.repeats.drop_share
    data = objects.read(objects.join(place.work, "sizes", f"{part}.bin"))
    sizes = np.frombuffer(data, np.uint64)
    spans = joined(np.concatenate(many))
    lost = np.bincount(spans["row"], spans["end"] - spans["start"], minlength=len(sizes))
    rows = np.flatnonzero((lost > limit * sizes) & (sizes > 0)) if limit < 1 else []
    whole = np.zeros(len(rows), SPAN)
    whole["row"], whole["end"] = rows, sizes[rows] if len(rows) else 0
    return whole


def _edits_table(spans: np.ndarray, whole: np.ndarray, reason: str) -> pa.Table:
    spans = spans[~np.isin(spans["row"], whole["row"])]
    reasons = np.array([reason] * len(spans) + [WHOLE] * len(whole), object)
    spans = np.concatenate([spans, whole])
    order = np.lexsort((spans["start"], spans["row"]))
    spans, reasons = spans[order], reasons[order]
    columns = {
        "row": np.ascontiguousarray(spans["row"]),
        "start": np.ascontiguousarray(spans["start"]),
        "end": np.ascontiguousarray(spans["end"]),
        "replacement": [""] * len(spans),
        "reason": reasons,
    }
    arrays = [pa.array(columns[field.name], field.type) for field in EDITS]
    return pa.Table.from_arrays(arrays, schema=EDITS)


def _cuts(place: Workplace, kind: str) -> dict[int, list[Piece]]:
    """What each part cuts, by its number."""
    markers = commit.read_markers(place.work, shuffle.cuts_stage(kind))
    return pieces_by_target(place.work, markers, {})


def _tasks(parts: Sequence[Part], recipe: str, pieces: dict[int, list[Piece]]) -> list[Task]:
    return [
        Task(
            part.name,
            recipe,
            part.num_bytes,
            {
                "number": number,
                "part": part.to_payload(),
                "pieces": [list(piece) for piece in pieces.get(number, [])],
            },
        )
        for number, part in enumerate(parts)
    ]


def _spans_path(place: Workplace, kind: str, part: str) -> str:
    return objects.join(place.work, kind, f"{part}.spans")
