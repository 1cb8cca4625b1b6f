"""The documents that the report shows, as they are read: text, what was cut from it, signals.

Text is read for these documents only, one row group at a time. Nothing here is markup: pieces of
text with a mark become HTML, escaped, in the template.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from filters.pii import MASKS
from filters.rules import Rule, evaluate, ratio_of
from pipelines import select
from pipelines.annotate import signals_stage, source_annotations
from pipelines.config import CorpusConfig
from pipelines.reporting.choice import Chooser, Fate
from pipelines.views import view_editors
from storage import tables
from storage.addresses import part_name, unpack_doc_id

MAX_CHARS = 1500
"""Shown of a text."""
DIFFERS = "differs"
DOCUMENT_COLUMNS = ["doc_id", "record", "url", "title", "license", "text"]
HASH_GROUPS = ("hash", "minhash", "embedding")
"""Signals that say nothing to a reader."""

MAX_UTF8_BYTES = 4
"""Of a character."""

Row = dict[str, Any]
Span = tuple[int, int, str]
"""Start and end in bytes, and the reason of an edit."""


class Piece(NamedTuple):
    """A run of text; `mark` is "" or why it stands out: an editor's reason, or DIFFERS."""

    text: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A document for the page. Its strings are data: they are shown, never interpreted."""

    doc_id: int
    record: str
    url: str
    title: str
    license: str
    num_bytes: int
    """Of the stored text."""
    pieces: list[Piece]
    is_shortened: bool

    @property
    def view(self) -> str:
        """What is left of the shown text."""
        return "".join(piece.text for piece in self.pieces if piece.mark in ("", DIFFERS))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a rule saw."""

    rule: Rule
    value: Any
    is_broken: bool

    @property
    def allowed(self) -> str:
        rule = self.rule
        if rule.in_ is not None:
            return f"one of {', '.join(rule.in_)}"
        bounds = [f"at least {rule.min:,g}"] if rule.min is not None else []
        bounds += [f"at most {rule.max:,g}"] if rule.max is not None else []
        return ", ".join(bounds)


@dataclass(frozen=True, slots=True)
class Sample:
    """A chosen document, what was decided, and the kept document it was dropped for."""

    fate: Fate
    shown: Shown
    survivor: Shown | None
    readings: list[Reading]
    signals: Row


def read_samples(config: CorpusConfig, parts: Sequence[str]) -> tuple[list[Sample], list[Sample]]:
    """The kept and the dropped documents to show, out of `parts`."""
    chooser = Chooser(config.report.samples)
    for part in parts:
        chooser.add(config, part)
    sources = [source.name for source in config.sources]
    by_name = {part.partition("/")[2]: part for part in parts}
    kept, dropped = chooser.kept(sources), chooser.dropped(sources)
    rules = select.bounded_rules(config)
    return (
        [_sample(config, fate, by_name, rules[fate.source]) for fate in kept],
        [_sample(config, fate, by_name, rules[fate.source]) for fate in dropped],
    )


def _sample(
    config: CorpusConfig, fate: Fate, parts: dict[str, str], rules: Sequence[Rule]
) -> Sample:
    shown = show(config, fate.part, fate.row)
    survivor = None
    if fate.survivor != fate.doc_id:
        unit, number, row = unpack_doc_id(fate.survivor)
        survivor = show(config, parts[part_name(unit, number)], row)
    if survivor is not None:
        shown, survivor = differing_shown(shown, survivor)
    signals = _signals(config, fate)
    readings = [read_rule(rule, signals) for rule in rules if applies(rule, signals)]
    return Sample(fate, shown, survivor, readings, signals)


def show(config: CorpusConfig, part: str, row: int) -> Shown:
    """One document as the page shows it."""
    document = read_row(config.path("documents", f"{part}.parquet"), row, DOCUMENT_COLUMNS)
    text = document.pop("text")
    data = text.encode()
    spans = {
        editor: list(_spans(config.path(f"edits/{editor}", f"{part}.parquet"), row))
        for editor in view_editors(config, part.partition("/")[0])
    }
    masks = spans.pop("pii", [])
    others = [span for found in spans.values() for span in found]
    pieces = list(shortened(cut_pieces(data, [*masks, *around(others, masks)]), MAX_CHARS))
    is_shortened = sum(len(piece.text) for piece in pieces) < len(text)
    pieces = [Piece(MASKS.get(piece.mark, piece.text), piece.mark) for piece in pieces]
    return Shown(**document, num_bytes=len(data), pieces=pieces, is_shortened=is_shortened)


def read_row(path: str, row: int, columns: list[str]) -> Row:
    """One row of a table; reads the row group that holds it."""
    with tables.open_table(path) as parquet:
        first = 0
        for group in range(parquet.num_row_groups):
            last = first + parquet.metadata.row_group(group).num_rows
            if row < last:
                rows = parquet.read_row_group(group, columns, use_threads=tables.USE_THREADS)
                return rows.slice(row - first, 1).to_pylist()[0]
            first = last
    raise AssertionError(f"{path} has no row {row}: it is not aligned with its documents")


def _spans(path: str, row: int) -> Iterator[Span]:
    """(start, end, reason) of the edits of one row, as far as the page can show them."""
    for batch in tables.iter_batches(path, ["row", "start", "end", "reason"], 1 << 16):
        here = batch.filter(pa.array(batch["row"].to_numpy() == row))
        for span in here.to_pylist():
            if span["start"] < MAX_UTF8_BYTES * MAX_CHARS:
                yield span["start"], span["end"], span["reason"]


def around(spans: Sequence[Span], masks: Sequence[Span]) -> Iterator[Span]:
    """What of `spans` no mask covers: personal data is not shown within a line that is cut, too."""
    for start, end, reason in spans:
        for mask_start, mask_end, _ in masks:
            if mask_start < end and mask_end > start:
                if start < mask_start:
                    yield start, mask_start, reason
                start = mask_end
        if start < end:
            yield start, end, reason


def cut_pieces(text: bytes, spans: Sequence[Span]) -> Iterator[Piece]:
    """The text in order; what a span covers carries its reason, of overlapping ones the first's."""
    done = 0
    for start, end, reason in sorted(spans):
        if done < start:
            yield Piece(text[done:start].decode())
        if done < end:
            yield Piece(text[max(done, start) : end].decode(), reason)
        done = max(done, end)
    if done < len(text):
        yield Piece(text[done:].decode())


def shortened(pieces: Iterator[Piece], max_chars: int) -> Iterator[Piece]:
    """The first `max_chars` characters; no piece after them is asked for."""
    left = max_chars
    while left and (piece := next(pieces, None)):
        yield piece._replace(text=piece.text[:left])
        left -= len(piece.text[:left])


def differing_shown(first: Shown, second: Shown) -> tuple[Shown, Shown]:
    """Both documents without what editors cut; words that only one of them has are marked."""
    mine, theirs = differing(first.view, second.view)
    return replace(first, pieces=mine), replace(second, pieces=theirs)


def differing(first: str, second: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces; words that only one of them has there are marked."""
    a, b = (re.findall(r"\w+|\s+|[^\w\s]", text) for text in (first, second))
    pieces: tuple[list[Piece], list[Piece]] = ([], [])
    for tag, a1, a2, b1, b2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        mark = "" if tag == "equal" else DIFFERS
        pieces[0].append(Piece("".join(a[a1:a2]), mark))
        pieces[1].append(Piece("".join(b[b1:b2]), mark))
    return pieces


def _signals(config: CorpusConfig, fate: Fate) -> Row:
    """All stored signals of a document by name."""
    signals: Row = {}
    annotations = source_annotations(config, fate.source)
    for group in (*annotations.signal_groups, *annotations.editors):
        if group.name not in HASH_GROUPS:
            path = config.path(signals_stage(group.name), f"{fate.part}.parquet")
            signals |= read_row(path, fate.row, group.schema.names)
    return signals


def applies(rule: Rule, signals: Row) -> bool:
    return rule.languages is None or signals["language"] in rule.languages


def read_rule(rule: Rule, signals: Row) -> Reading:
    """Value of a rule's signal for one document, and whether it breaks the rule."""
    ratio = ratio_of(rule.signal)
    if ratio is None:
        value = signals[rule.signal]
    else:
        value = ratio.value(lambda name: np.array([signals[name]])).item()
    columns = {name: [signals[name]] for name in rule.columns}
    return Reading(rule, value, evaluate([rule], pa.table(columns)).drop[0].as_py())
