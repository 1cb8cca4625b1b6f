"""Stage `select`: rules over stored signals to decisions. No text is read.

A changed threshold rewrites one small table per part. Reasons are counted as they decide (the first
rule that a document breaks) and marginally (what each rule alone would drop).

A rule by share, as "the best tenth", is of the whole corpus: where there is one, the driver reads
the columns of the rules of all parts first, and turns shares into bounds. The bounds enter the
recipe ids of the parts, so a corpus that changed is decided again. So do the bounds of buckets
(`select.buckets`), which are by share of what the rules keep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from filters import buckets
from filters.buckets import Buckets, LanguageShares
from filters.rules import Decisions, RecipeError, Rule, check_signals, evaluate
from filters.shares import ShareBounds
from pipelines import annotate
from pipelines.annotate import signals_stage, source_annotations
from pipelines.config import CorpusConfig
from pipelines.ingest import document_parts
from pipelines.recipes import reading, source_reads, source_rules
from pipelines.stages import Slice, Task, require, run_tasks
from storage import commit, tables
from storage.backend import printable
from storage.commit import PartMarker, WrittenObject
from storage.errors import ConfigError, UserError
from storage.tables import DECISION, NUMBERS

STAGE = "decisions/select"
VERSION = 1
_SCHEMA = DECISION.set(
    2, pa.field("reason", pa.dictionary(pa.int32(), pa.string()), nullable=False)
)
_BUCKETED = _SCHEMA.append(pa.field("bucket", pa.string()))
DROP_PREFIX = "drop:"
MARGINAL_PREFIX = "marginal:"


def run(config: CorpusConfig, only: Slice | None = None) -> list[PartMarker]:
    """Decides which documents are worth keeping. Raises ConfigError, StorageError, StageError.

    Returns the markers of all parts; none for a slice, as other slices may not have finished.
    """
    require(config, annotate.STAGE, "annotate")
    rules = bounded_rules(config)
    cut = bucket_bounds(config, rules)
    run_tasks(config, STAGE, plan(config, rules, cut), SelectPart(config, rules, cut), only)
    markers = commit.read_markers(config.output, STAGE) if only is None else []
    for marker in markers:
        check_accounting(marker)
    return markers


def summary(config: CorpusConfig, markers: list[PartMarker]) -> str:
    """A line per source: its documents, how many stay, and the others by the first broken rule."""
    totals: dict[str, Counter[str]] = {source.name: Counter() for source in config.sources}
    for marker in markers:
        if _source(marker) in totals:
            totals[_source(marker)].update(marker.counts)
    return "\n".join(_summary_line(source, counts) for source, counts in totals.items())


def bounded_rules(config: CorpusConfig) -> dict[str, list[Rule]]:
    """All rules that decide on the documents of each source, with bounds in place of shares.

    Raises ConfigError for a signal that a source has not.
    """
    rules = {source.name: source_rules(config, source.name) for source in config.sources}
    by_share = {name for name, ones in rules.items() if any(one.share is not None for one in ones)}
    for name in sorted(by_share):
        groups_read(config, name)
    bounds = ShareBounds()
    for part in document_parts(config) if by_share else []:
        name = _source(part)
        if name in by_share:
            bounds.add(name, rules[name], read_signals(config, part.part, rules[name]))
    return {name: bounds.bounded(name, ones) for name, ones in rules.items()}


def bucket_bounds(config: CorpusConfig, rules: dict[str, list[Rule]]) -> Buckets | None:
    """The buckets of the configuration, with bounds in place of shares; None without any."""
    wanted = config.select.buckets
    if wanted is None:
        return None
    bounds = wanted.bounds_by_language
    if wanted.shares:
        counts = LanguageShares(wanted.signal)
        for part in document_parts(config):
            ones = rules[_source(part)]
            signals = read_signals(config, part.part, [*ones, reading(wanted.signal)])
            kept = ~evaluate(ones, signals).drop.to_numpy(zero_copy_only=False)
            counts.add(signals, kept)
        bounds = counts.bounds(wanted.shares)
    return Buckets(wanted.signal, tuple(wanted.names), bounds)


def plan(config: CorpusConfig, rules: dict[str, list[Rule]], cut: Buckets | None) -> list[Task]:
    """One task per documents part; its inputs are the digests of the signals that it reads."""
    parts = document_parts(config)
    groups = {name: groups_read(config, name) for name in {_source(part) for part in parts}}
    markers = {
        group: {one.part: one for one in commit.read_markers(config.output, signals_stage(group))}
        for group in sorted({group for names in groups.values() for group in names})
    }
    return [
        _plan_part(part, rules[_source(part)], cut, groups[_source(part)], markers)
        for part in parts
    ]


def check_accounting(marker: PartMarker) -> None:
    """documents = kept + sum(dropped by reason), for one part."""
    counts = marker.counts
    dropped = sum(n for name, n in counts.items() if name.startswith(DROP_PREFIX))
    assert counts["documents"] == counts["kept"] + dropped, f"{marker.part}: {counts}"


@dataclass(frozen=True, slots=True)
class SelectPart:
    """The work of one task: one decision table."""

    config: CorpusConfig
    rules: dict[str, list[Rule]]
    """Of each source; none by share."""
    buckets: Buckets | None = None

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        config, part = self.config, task.part
        documents = tables.read_table(config.path("documents", f"{part}.parquet"), ["doc_id"])
        rules = self.rules[part.partition("/")[0]]
        decided = evaluate(rules, read_signals(config, part, rules) if rules else documents)
        columns = [documents["doc_id"].combine_chunks(), decided.drop, decided.reason]
        if self.buckets is not None:
            signals = read_signals(config, part, [reading(self.buckets.signal)])
            columns.append(buckets.assign(self.buckets, signals))
        schema = _SCHEMA if self.buckets is None else _BUCKETED
        path = config.path(STAGE, f"{part}.parquet")
        stats = tables.write_table(path, pa.table(columns, schema=schema), schema, layout=NUMBERS)
        yield PartMarker(
            STAGE,
            part,
            task.recipe_id,
            [WrittenObject.of_table(STAGE, part, stats)],
            _counts(decided),
        )


def read_signals(config: CorpusConfig, part: str, rules: list[Rule]) -> pa.Table:
    """The columns that `rules` read, of all documents of a part; strings as dictionaries."""
    columns = _columns_of(rules)
    arrays: dict[str, pa.ChunkedArray] = {}
    annotations = source_annotations(config, part.partition("/")[0])
    for group in (*annotations.editors, *annotations.signal_groups):
        wanted = [name for name in group.schema.names if name in columns]
        if wanted:
            path = config.path(signals_stage(group.name), f"{part}.parquet")
            strings = [name for name in wanted if pa.types.is_string(group.schema.field(name).type)]
            table = tables.read_table(path, wanted, encoded=strings).unify_dictionaries()
            arrays |= {name: table[name] for name in wanted}
    return pa.table(arrays)


def _plan_part(
    part: PartMarker,
    rules: list[Rule],
    cut: Buckets | None,
    groups: list[str],
    markers: dict[str, dict[str, PartMarker]],
) -> Task:
    inputs = [part.object("documents").digest]
    for group in groups:
        marker = markers[group].get(part.part)
        if marker is None:
            raise UserError(f"{part.part} has no signals of group {group!r}; run `tilth annotate`")
        inputs.append(marker.object(signals_stage(group)).digest)
    settings = [rule.model_dump(mode="json") for rule in rules]
    settings += [cut._asdict()] if cut else []
    recipe = commit.recipe_id(STAGE, VERSION, settings, inputs)
    return Task(part.part, recipe, part.object("documents").rows)


def groups_read(config: CorpusConfig, source: str) -> list[str]:
    """The groups that hold a column which a rule of the source reads. Raises ConfigError."""
    rules = source_reads(config, source)
    annotations = source_annotations(config, source)
    groups = (*annotations.editors, *annotations.signal_groups)
    try:
        check_signals(rules, [name for group in groups for name in group.schema.names])
    except RecipeError as error:
        raise ConfigError(f"source {source!r}: {error}") from error
    columns = _columns_of(rules)
    return [group.name for group in groups if columns & set(group.schema.names)]


def _columns_of(rules: list[Rule]) -> set[str]:
    return {column for rule in rules for column in rule.columns}


def _source(part: PartMarker) -> str:
    return part.part.split("/")[0]


def _summary_line(source: str, counts: Counter[str]) -> str:
    dropped = [
        f"{printable(name.removeprefix(DROP_PREFIX))} {count:,}"
        for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
        if name.startswith(DROP_PREFIX)
    ]
    line = f"{source}: {counts['documents']:,} documents, {counts['kept']:,} kept"
    return f"{line}; dropped: {', '.join(dropped)}" if dropped else line


def _counts(decided: Decisions) -> dict[str, int]:
    dropped = {DROP_PREFIX + reason: count for reason, count in decided.first.items() if count}
    alone = {MARGINAL_PREFIX + reason: count for reason, count in decided.marginal.items()}
    kept = len(decided.drop) - sum(dropped.values())
    return {"documents": len(decided.drop), "kept": kept, **dropped, **alone}
