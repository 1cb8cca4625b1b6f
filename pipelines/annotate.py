"""Stage `annotate`: signals and edits of documents, one aligned table per group and part.

Fused into `ingest` on a first run; alone when a group, an editor or a setting changed. Both give
equal digests, because a group sees rows, never batches. A part that lacks several groups is read
once, and what it has is left alone.

Editors see the stored text and return spans of it. A view is the stored text without the spans of
the editors of the source's recipes; it is made in memory, never stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from filters import groups
from filters.classifier import ClassifierParams
from filters.edits import apply_edits
from filters.groups import Editor, SignalGroup
from filters.language import LanguageParams
from filters.minhash import MinHashParams
from filters.perplexity import PerplexityParams
from pipelines import embedding, evaluations, term_lists, url_lists
from pipelines.config import ClassifierConfig, CorpusConfig, DedupConfig
from pipelines.recipes import source_reads, source_recipe
from pipelines.stages import Slice, Task, require, run_tasks
from storage import commit, tables
from storage.commit import PartMarker, WrittenObject
from storage.errors import ConfigError
from storage.tables import EDITS, NUMBERS, TEXT, Layout, TableWriter

STAGE = "annotate"
VERSION = 1


def run(config: CorpusConfig, only: Slice | None = None) -> None:
    """Adds the groups that documents lack. Raises ConfigError, StorageError, StageError."""
    from pipelines import ingest

    require(config, ingest.STAGE, "ingest")
    tasks = [
        plan_part(config, marker.part, marker.object("documents"))
        for marker in ingest.document_parts(config)
    ]
    run_tasks(config, STAGE, tasks, AnnotatePart(config), only)


def signals_stage(group: str) -> str:
    """Stage of a group's markers, and the folder of its tables."""
    return f"signals/{group}"


@dataclass(frozen=True)
class SourceAnnotations:
    """The editors and groups of one source, in the order they are computed."""

    editors: tuple[Editor, ...]
    signal_groups: tuple[SignalGroup, ...]

    @property
    def view(self) -> tuple[Editor, ...]:
        """The editors whose spans are cut from what is hashed, compared and packed."""
        return tuple(editor for editor in self.editors if editor.in_view)

    @cached_property
    def _view(self) -> list[list[object]]:
        return [[editor.name, editor.version, editor.settings] for editor in self.view]

    def recipe_id(self, group: Editor | SignalGroup, documents_digest: str) -> str:
        edited = isinstance(group, SignalGroup) and group.view == "edited"
        settings = {"settings": group.settings, "view": self._view if edited else []}
        stage = signals_stage(group.name)
        return commit.recipe_id(stage, group.version, settings, [documents_digest])

    def recipe_ids(self, documents_digest: str) -> dict[str, str]:
        """Recipe id of each group and editor by name."""
        return {
            group.name: self.recipe_id(group, documents_digest)
            for group in (*self.editors, *self.signal_groups)
        }

    def part_recipe(self, documents_digest: str) -> str:
        """Recipe id of the stage as a whole for one part."""
        recipes = self.recipe_ids(documents_digest)
        return commit.recipe_id(STAGE, VERSION, recipes, [documents_digest])

    def only(self, names: set[str]) -> SourceAnnotations:
        """The groups called `names`, and what they read; editors stay for a group in their view."""
        read = {name for group in self.signal_groups if group.name in names for name in group.reads}
        kept = tuple(group for group in self.signal_groups if group.name in names | read)
        needs_view = any(group.view == "edited" for group in kept)
        editors = tuple(e for e in self.editors if (needs_view and e.in_view) or e.name in names)
        return SourceAnnotations(editors, kept)


def source_annotations(config: CorpusConfig, source: str) -> SourceAnnotations:
    """What a source needs: text and language always, editors by its recipes, hashes by dedup, and
    what its rules read."""
    language, dedup = config.annotate.language, config.dedup
    languages = groups.language_group(LanguageParams(language.model, language.max_chars))
    chosen = [groups.text_group(), languages, groups.hash_group()]
    chosen += [_classifier_group(one) for one in config.annotate.classifiers]
    if config.annotate.perplexity:
        chosen.append(_perplexity_group(config.annotate.perplexity, languages))
    if dedup.fuzzy:
        chosen.append(groups.minhash_group(minhash_params(dedup)))
    if dedup.semantic:
        chosen.append(embedding.group(dedup.semantic))
    editors = [*source_recipe(config, source).editors]
    if config.decontamination.evaluations:
        editors.append(evaluations.editor(config, source))
    chosen += _optional_groups(config, source, {editor.name for editor in editors})
    return SourceAnnotations(tuple(editors), tuple(chosen))


def _classifier_group(one: ClassifierConfig) -> SignalGroup:
    try:
        return groups.classifier_group(ClassifierParams(one.name, one.model, one.label))
    except OSError as error:
        raise ConfigError(
            f"annotate.classifiers: the model of {one.name!r}, {one.model}, cannot be read: "
            f"{error.strerror}; `tilth classifier train` writes one"
        ) from error


def _perplexity_group(models: dict[str, str], languages: SignalGroup) -> SignalGroup:
    try:
        return groups.perplexity_group(PerplexityParams(tuple(sorted(models.items()))), languages)
    except OSError as error:
        raise ConfigError(
            f"annotate.perplexity: the model {error.filename} cannot be read: {error.strerror}; "
            "`tilth perplexity train` writes one"
        ) from error
    except ValueError as error:
        raise ConfigError(f"annotate.perplexity: {error}") from error


def _optional_groups(config: CorpusConfig, source: str, editors: set[str]) -> list[SignalGroup]:
    """Groups that are computed where a rule reads them, or where they are asked for."""
    read = {column for rule in source_reads(config, source) for column in rule.columns}
    asked = {"pii"} if config.annotate.pii else set()
    settings = config.annotate.language
    language = LanguageParams(settings.model, settings.max_chars)
    optional = (
        groups.pii_group(),
        groups.paragraph_language_group(language),
        groups.space_words_group(),
        groups.code_group(),
        groups.script_group(),
    )
    chosen = [
        group
        for group in optional
        if group.name not in editors and (group.name in asked or read & set(group.schema.names))
    ]
    if config.urls.is_set:
        chosen.append(url_lists.group(config.urls))
    if config.annotate.terms:
        chosen.append(term_lists.group(config))
    return chosen


def minhash_params(dedup: DedupConfig) -> MinHashParams:
    return MinHashParams(
        dedup.ngram,
        dedup.num_permutations,
        dedup.bands,
        dedup.rows,
        dedup.seed,
        dedup.shingle,
    )


def plan_part(config: CorpusConfig, part: str, documents: WrittenObject) -> Task:
    annotations = source_annotations(config, part.split("/")[0])
    return Task(
        part,
        annotations.part_recipe(documents.digest),
        documents.bytes,
        {"documents": documents.path, "digest": documents.digest},
    )


@dataclass(frozen=True, slots=True)
class AnnotatePart:
    """The work of one task: the groups that a part lacks."""

    config: CorpusConfig

    def __call__(self, task: Task) -> Iterator[PartMarker]:
        source, digest = task.part.split("/")[0], task.payload["digest"]
        wanted = source_annotations(self.config, source)
        lacking = {
            name
            for name, recipe in wanted.recipe_ids(digest).items()
            if not commit.is_finished(self.config.output, signals_stage(name), task.part, recipe)
        }
        if lacking:
            annotator = PartAnnotator(self.config, task.part, wanted, lacking)
            path = self.config.path(task.payload["documents"])
            with annotator:
                for batch in tables.iter_batches(path, annotator.columns):
                    annotator.write(batch)
            yield from annotator.finish(digest)
        else:
            yield PartMarker(STAGE, task.part, task.recipe_id)


class PartAnnotator:
    """Writes the tables of one part while its batches go by."""

    def __init__(
        self,
        config: CorpusConfig,
        part: str,
        annotations: SourceAnnotations,
        lacking: set[str] | None = None,
    ) -> None:
        """`lacking`: the groups and editors to write; None is all."""
        self._config, self._part, self._annotations = config, part, annotations
        lacking = set(annotations.recipe_ids("")) if lacking is None else lacking
        self._needed = annotations.only(lacking)
        self._lacking = lacking
        self._writers: dict[str, TableWriter] = {}
        self._stack = ExitStack()
        self._num_rows = 0

    @property
    def columns(self) -> list[str]:
        """The columns of documents that batches must have."""
        read = {column for group in self._needed.signal_groups for column in group.columns}
        return sorted(read | ({"text"} if self._needed.editors else set()))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for group in (*self._needed.editors, *self._needed.signal_groups):
                if group.name in self._lacking:
                    self._open(stack, signals_stage(group.name), group.schema, NUMBERS)
                    if isinstance(group, Editor):
                        self._open(stack, f"edits/{group.name}", EDITS, TEXT)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, batch: pa.RecordBatch) -> None:
        """Annotates a batch of documents; batches come in row order."""
        edits: list[pa.Table] = []
        for editor in self._needed.editors:
            signals, spans = editor.compute(batch)
            if editor.in_view:
                edits.append(spans)
            self._write(signals_stage(editor.name), signals)
            self._write(f"edits/{editor.name}", _moved(spans, self._num_rows))
        view = _view(batch, edits)
        computed: dict[str, pa.RecordBatch] = {}
        for group in self._needed.signal_groups:
            seen = view if group.view == "edited" else batch
            for name in group.reads:
                seen = _with_columns(seen, computed[name])
            computed[group.name] = group.compute(seen)
            self._write(signals_stage(group.name), computed[group.name])
        self._num_rows += batch.num_rows

    def finish(self, documents_digest: str) -> list[PartMarker]:
        """Commits the tables; returns the marker of each group, that of the stage last."""
        recipes = self._annotations.recipe_ids(documents_digest)
        for writer in self._writers.values():
            writer.metadata["documents_digest"] = documents_digest
            writer.close()
        done = [
            PartMarker(signals_stage(name), self._part, recipes[name], self._written(name))
            for name in sorted(self._lacking)
        ]
        recipe = self._annotations.part_recipe(documents_digest)
        return [*done, PartMarker(STAGE, self._part, recipe)]

    def _written(self, group: str) -> list[WrittenObject]:
        return [
            WrittenObject.of_table(table, self._part, self._writers[table].stats)
            for table in (signals_stage(group), f"edits/{group}")
            if table in self._writers
        ]

    def _open(self, stack: ExitStack, table: str, schema: pa.Schema, layout: Layout) -> None:
        path = self._config.path(table, f"{self._part}.parquet")
        writer = TableWriter(path, schema, layout=layout)
        self._writers[table] = stack.enter_context(writer)

    def _write(self, table: str, rows: pa.RecordBatch | pa.Table) -> None:
        if table in self._writers:
            for batch in rows.to_batches() if isinstance(rows, pa.Table) else [rows]:
                self._writers[table].write(batch)


def _view(batch: pa.RecordBatch, edits: list[pa.Table]) -> pa.RecordBatch:
    """The batch with the spans of all editors taken out of `text`."""
    if not any(spans.num_rows for spans in edits):
        return batch
    text = apply_edits(batch.column("text"), *edits)
    return batch.set_column(batch.schema.get_field_index("text"), "text", text)


def _with_columns(batch: pa.RecordBatch, signals: pa.RecordBatch) -> pa.RecordBatch:
    names = [*batch.schema.names, *signals.schema.names]
    return pa.RecordBatch.from_arrays([*batch.columns, *signals.columns], names=names)


def _moved(spans: pa.Table, rows: int) -> pa.Table:
    """Row numbers within the batch to row numbers within the part."""
    moved = spans.column("row").to_numpy() + np.uint32(rows)
    return spans.set_column(0, "row", pa.array(moved, pa.uint32()))
