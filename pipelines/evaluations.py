"""The evaluation sets of a corpus file: their texts, and the index that documents are held against.

A file that cannot be read whole, or a field that no row has, stops the run: an evaluation that is
looked for in part only would pass for a clean corpus.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import xxhash

from filters import groups
from filters.decontamination import Evaluation, NgramIndex, build_index
from filters.groups import Editor
from pipelines.config import CorpusConfig
from pipelines.dataset_files import iter_rows, list_files
from pipelines.sources.fields import look_up
from storage import objects
from storage.backend import printable
from storage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class EvaluationFiles:
    """One evaluation as the corpus file names it."""

    name: str
    paths: tuple[str, ...]
    fields: tuple[str, ...]
    ngram: int


def configured(config: CorpusConfig) -> tuple[EvaluationFiles, ...]:
    """The evaluations of a corpus file, in order."""
    settings = config.decontamination
    return tuple(
        EvaluationFiles(one.name, tuple(one.paths), tuple(one.fields), one.ngram or settings.ngram)
        for one in settings.evaluations
    )


def editor(config: CorpusConfig, source: str) -> Editor:
    """Finds the texts of the evaluations in documents of a source. Raises ConfigError."""
    files = configured(config)
    in_view = source in config.decontamination.cut
    return groups.decontamination_editor(
        {"evaluations": _settings(files)}, functools.partial(index, files), in_view
    )


@functools.lru_cache(maxsize=2)
def index(evaluations: tuple[EvaluationFiles, ...]) -> NgramIndex:
    """The index of all texts, built once per process. Raises ConfigError, StorageError."""
    return build_index(
        [
            Evaluation(one.name, pa.array(read_texts(one), pa.large_string()), one.ngram)
            for one in evaluations
        ]
    )


def read_texts(evaluation: EvaluationFiles) -> list[str]:
    """All texts of an evaluation, in the order of files and rows."""
    texts: list[str] = []
    found = dict.fromkeys(evaluation.fields, 0)
    names: set[str] = set()
    for path in _files(evaluation):
        for row in iter_rows(path):
            names.update(map(str, row))
            for field in evaluation.fields:
                pieces = [look_up(row, name) for name in field.split("+")]
                found[field] += any(piece is not None for piece in pieces)
                texts.append(" ".join(text for piece in pieces for text in _strings(piece)))
            if not evaluation.fields:
                texts += _strings(row)
    missing = [field for field, number in found.items() if not number]
    if missing or not texts:
        what = f"no field {missing[0]!r}" if missing else "no text"
        raise ConfigError(
            f"evaluation {evaluation.name!r}: {what} in {', '.join(evaluation.paths)}; "
            f"its fields are {printable(', '.join(sorted(names)[:20])) or 'none'}"
        )
    return texts


@functools.lru_cache(maxsize=2)
def _settings(evaluations: tuple[EvaluationFiles, ...]) -> list[list[Any]]:
    """What decides the content of an index: the bytes of the files, not where they are."""
    return [
        [
            one.name,
            one.ngram,
            list(one.fields),
            [xxhash.xxh3_128_hexdigest(objects.read(path)) for path in _files(one)],
        ]
        for one in evaluations
    ]


def _files(evaluation: EvaluationFiles) -> list[str]:
    return list_files(f"evaluation {evaluation.name!r}", evaluation.paths)


def _strings(value: Any) -> list[str]:
    """Every string in a value, in order."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for one in value.values() for text in _strings(one)]
    if isinstance(value, list):
        return [text for one in value for text in _strings(one)]
    return []
