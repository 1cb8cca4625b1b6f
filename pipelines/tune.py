"""`tilth tune`: what thresholds would do, from stored signals. No text is read but the examples'.

    rules of each source   documents dropped first, alone and only by each
    --rule NAME            quantiles of its signal per language, what thresholds would keep, and
                           the documents next to the threshold

Nothing is written. Memory: about 30 bytes a document of a source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.rules import Rule, breaks, check_signals, numbers, ratio_of
from pipelines import annotate, select
from pipelines.annotate import source_annotations
from pipelines.config import CorpusConfig
from pipelines.ingest import document_parts
from pipelines.reporting import format as report_format
from pipelines.reporting.samples import read_row
from pipelines.stages import require
from storage.addresses import pack_doc_id, parse_part_name
from storage.backend import printable
from storage.errors import ConfigError

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
NUM_EXAMPLES = 5
MAX_LANGUAGES = 15
SCORE_DECIMALS = 4
"""Model scores are rounded to these when they are stored."""
MAX_EXAMPLE_CHARS = 160


def run(config: CorpusConfig, name: str = "") -> str:
    """The tables as text; `name` is the reason or the signal of a rule, or any stored signal.

    Raises UserError when annotate has not finished, ConfigError for a name that no source knows.
    """
    require(config, annotate.STAGE, "annotate")
    parts: dict[str, list[str]] = {source.name: [] for source in config.sources}
    for marker in document_parts(config):
        parts[marker.part.partition("/")[0]].append(marker.part)
    rules = select.bounded_rules(config)
    if not name:
        return "\n\n".join(
            _summary(config, source, parts[source], rules[source]) for source in parts
        )
    pieces = [
        piece
        for source in parts
        for piece in _details(config, source, parts[source], rules[source], name)
    ]
    if not pieces:
        reasons = sorted({one.reason for ones in rules.values() for one in ones})
        raise ConfigError(
            f"--rule {name!r}: no source has a rule or a signal of that name; "
            f"rules are {', '.join(reasons) or 'none'}"
        )
    return "\n\n".join(pieces)


@dataclass(frozen=True, slots=True)
class Values:
    """A signal of all documents of a source that a rule looks at, in the order of parts."""

    source: str
    values: npt.NDArray[np.float64]
    languages: npt.NDArray[np.object_]
    num_bytes: npt.NDArray[np.int64]
    """Of the view."""
    parts: list[str]
    places: npt.NDArray[np.int64]
    """Number of the part << 32 | row."""


def _summary(config: CorpusConfig, source: str, parts: Sequence[str], rules: list[Rule]) -> str:
    first: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    only: Counter[str] = Counter()
    num_documents = 0
    for part in parts:
        signals = select.read_signals(config, part, rules)
        broken = [breaks(rule, signals) for rule in rules]
        times = np.zeros(signals.num_rows, np.int64)
        for dropped in broken:
            times += dropped
        undecided = np.ones(len(times), bool)
        for rule, dropped in zip(rules, broken, strict=True):
            alone[rule.reason] += int(dropped.sum())
            only[rule.reason] += int((dropped & (times == 1)).sum())
            first[rule.reason] += int((dropped & undecided).sum())
            undecided &= ~dropped
        num_documents += len(times)
    title = f"source {source}: {num_documents:,} documents"
    if not rules:
        return f"source {source}: no rules"
    kept = num_documents - first.total()
    rows = [
        (
            rule.reason,
            rule.signal,
            _allowed(rule),
            *(f"{counts[rule.reason]:,}" for counts in (first, alone, only)),
        )
        for rule in rules
    ]
    header = ("rule", "signal", "keeps", "drops first", "alone", "only it")
    return f"{title}, {kept:,} kept\n{_table(header, rows, 3)}"


def _details(
    config: CorpusConfig, source: str, parts: Sequence[str], rules: Sequence[Rule], name: str
) -> Iterator[str]:
    """One text per rule of that name; without one, a text on the signal of that name."""
    rules = [rule for rule in rules if name in (rule.reason, rule.signal)]
    annotations = source_annotations(config, source)
    groups = (*annotations.editors, *annotations.signal_groups)
    columns = {field.name: field.type for group in groups for field in group.schema}
    ratio = ratio_of(name)
    known = ratio is not None and set(ratio.columns) <= columns.keys()
    if not rules and (known or _is_number(columns.get(name))):
        rules = [Rule(signal=name, min=-np.inf, reason=name)]
    check_signals(rules, columns)
    for rule in rules if parts else []:
        if rule.in_ is not None:
            yield _listed(config, source, parts, rule)
        else:
            yield _ranged(_read_values(config, source, parts, rule), rule, config)


def _is_number(kind: pa.DataType | None) -> bool:
    return kind is not None and (pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _listed(config: CorpusConfig, source: str, parts: Sequence[str], rule: Rule) -> str:
    """Documents by value of a rule with a list."""
    documents: Counter[str] = Counter()
    for part in parts:
        signals = select.read_signals(config, part, [rule])
        for one in signals[rule.signal].value_counts().to_pylist():
            documents[one["values"]] += one["counts"]
    allowed = set(rule.in_ or ())
    rows = [
        (printable(value), f"{number:,}", "kept" if value in allowed else "dropped")
        for value, number in sorted(documents.items(), key=lambda one: (-one[1], one[0]))
    ]
    return f"{_title(rule, source)}\n{_table((rule.signal, 'documents', ''), rows, 1)}"


def _ranged(values: Values, rule: Rule, config: CorpusConfig) -> str:
    pieces = [f"{_title(rule, values.source)}: {len(values.values):,} documents"]
    if len(values.values):
        pieces += [_quantiles(values), _thresholds(values, rule), _examples(values, rule, config)]
    return "\n\n".join(piece for piece in pieces if piece)


def _read_values(config: CorpusConfig, source: str, parts: Sequence[str], rule: Rule) -> Values:
    wanted = [rule.model_copy(update={"languages": rule.languages or ("",)})]
    sizes = Rule(signal="text_bytes", min=0, reason="size")
    columns: list[list[npt.NDArray]] = [[], [], [], []]
    for number, part in enumerate(parts):
        signals = select.read_signals(config, part, [*wanted, sizes])
        language = signals["language"]
        rows = np.arange(signals.num_rows)
        if rule.languages is not None:
            rows = rows[np.isin(np.asarray(language.to_pylist(), object), rule.languages)]
        columns[0].append(_exact(numbers(rule.signal, signals)[rows]))
        columns[1].append(np.asarray(language.to_pylist(), object)[rows])
        columns[2].append(np.asarray(signals["text_bytes"])[rows].astype(np.int64))
        columns[3].append(number << 32 | rows)
    numeric, languages, num_bytes, places = (np.concatenate(column) for column in columns)
    return Values(source, numeric, languages, num_bytes, list(parts), places)


def _exact(values: npt.NDArray) -> npt.NDArray[np.float64]:
    """As float64; a score stored as float32 is the decimal that it was rounded to."""
    exact = values.astype(np.float64)
    return exact.round(SCORE_DECIMALS) if values.dtype == np.float32 else exact


def _quantiles(values: Values) -> str:
    header = ("language", "documents", *(f"{100 * q:g} %" for q in QUANTILES))
    counts = Counter(values.languages.tolist())
    names = [name for name, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
    rows = [("all", *_quantile_row(values.values))]
    for name in names[:MAX_LANGUAGES]:
        chosen = values.values[values.languages == name]
        rows.append((printable(name), *_quantile_row(chosen)))
    others = set(names[MAX_LANGUAGES:])
    if others:
        chosen = values.values[np.isin(values.languages, list(others))]
        rows.append((f"{len(others)} others", *_quantile_row(chosen)))
    return _table(header, rows, 1)


def _quantile_row(values: npt.NDArray[np.float64]) -> list[str]:
    finite = values[~np.isnan(values)]
    if not len(finite):
        return [f"{len(values):,}", *("-" for _ in QUANTILES)]
    found = np.quantile(finite, QUANTILES, method="lower")
    return [f"{len(values):,}", *(f"{value:.4g}" for value in found)]


def _thresholds(values: Values, rule: Rule) -> str:
    """What bounds at the quantiles, and the rule's own, would keep."""
    finite = values.values[~np.isnan(values.values)]
    tables = []
    for bound, own in (("min", rule.min), ("max", rule.max)):
        if own is None or not len(finite):
            continue
        candidates = set(np.quantile(finite, QUANTILES, method="lower").tolist())
        candidates |= {own} if np.isfinite(own) else set()
        rows = []
        for candidate in sorted(candidates):
            kept = values.values >= candidate if bound == "min" else values.values <= candidate
            num_bytes = int(values.num_bytes[kept].sum())
            rows.append(
                (
                    f"{candidate:.6g}{' *' if candidate == own else ''}",
                    f"{kept.sum():,}",
                    report_format.percent(int(kept.sum()), len(kept)),
                    report_format.num_bytes(num_bytes),
                    report_format.percent(num_bytes, int(values.num_bytes.sum())),
                )
            )
        header = (bound, "documents kept", "", "text kept", "")
        tables.append(_table(header, rows, 0))
    return "\n\n".join(tables) + ("\n* now" if _bounds(rule) else "")


def _examples(values: Values, rule: Rule, config: CorpusConfig) -> str:
    """The documents nearest to the rule's bounds, on both sides, or to the median without one."""
    finite = values.values[~np.isnan(values.values)]
    bounds = _bounds(rule) or ([float(np.median(finite))] if len(finite) else [])
    lines = []
    for bound in bounds:
        distance = np.abs(values.values - bound)
        nearest = np.lexsort((values.places, np.where(np.isnan(distance), np.inf, distance)))
        lines.append(f"next to {bound:g}:")
        lines += [_example(values, row, rule, config) for row in nearest[:NUM_EXAMPLES].tolist()]
    return "\n".join(lines)


def _example(values: Values, row: int, rule: Rule, config: CorpusConfig) -> str:
    part, place = values.parts[values.places[row] >> 32], int(values.places[row] & 0xFFFFFFFF)
    value = values.values[row]
    kept = (rule.min is None or value >= rule.min) and (rule.max is None or value <= rule.max)
    text = read_row(config.path("documents", f"{part}.parquet"), place, ["text"])["text"]
    doc_id = pack_doc_id(*parse_part_name(part.rpartition("/")[2]), place)
    shown = printable(" ".join(text[: 4 * MAX_EXAMPLE_CHARS].split())[:MAX_EXAMPLE_CHARS])
    fate = "kept" if kept else "dropped"
    return f"  {value:<10.6g} {fate:<7} {printable(values.languages[row])} {doc_id}  {shown}"


def _bounds(rule: Rule) -> list[float]:
    return [bound for bound in (rule.min, rule.max) if bound is not None and np.isfinite(bound)]


def _title(rule: Rule, source: str) -> str:
    scope = f", of {', '.join(rule.languages)}" if rule.languages else ""
    allowed = _allowed(rule)
    what = f"rule {rule.reason}: {rule.signal} {allowed}" if allowed else f"signal {rule.signal}"
    return f"source {source}, {what}{scope}"


def _allowed(rule: Rule) -> str:
    if rule.in_ is not None:
        listed = ", ".join(rule.in_[:8])
        return f"in {listed}{', ...' if len(rule.in_) > 8 else ''}"
    bounds = [f">= {rule.min:g}"] if rule.min is not None and np.isfinite(rule.min) else []
    bounds += [f"<= {rule.max:g}"] if rule.max is not None and np.isfinite(rule.max) else []
    if rule.share is not None:
        bounds.append(f"{'top' if rule.top is not None else 'bottom'} {100 * rule.share:g} %")
    return ", ".join(bounds)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], num_left: int) -> str:
    """Columns under each other, the first `num_left` to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k < num_left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
