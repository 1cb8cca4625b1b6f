"""What the corpus says about people: personal data and listed terms, counted in the stored signals.

For the report only; whether anything is dropped or masked is for recipes to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from filters import pii
from pipelines import term_lists
from pipelines.annotate import signals_stage, source_annotations
from pipelines.config import CorpusConfig
from pipelines.duplicates.decide import STAGE as FINAL_STAGE
from pipelines.reporting.data import read_columns


@dataclass
class Occurrences:
    """Of one kind or list: documents with any, and places, of all documents and of those kept."""

    title: str
    is_masked: bool = False
    """In the text that is packed, of at least one source."""
    documents: int = 0
    places: int = 0
    kept_documents: int = 0
    kept_places: int = 0


def count_sensitive(config: CorpusConfig, parts: Sequence[str]) -> list[Occurrences]:
    """Of the kinds of personal data and the lists of terms that any source counts."""
    found: dict[str, Occurrences] = {}
    for part in parts:
        for group, titles in _counted(config, part.partition("/")[0]).items():
            counts = read_columns(config, signals_stage(group), part, list(titles))
            kept = read_columns(config, FINAL_STAGE, part, ["kept"])["kept"].to_numpy()
            for column, title in titles.items():
                row = found.setdefault(column, Occurrences(title))
                values = counts[column].to_numpy()
                row.documents += int((values > 0).sum())
                row.places += int(values.sum())
                row.kept_documents += int((values[kept] > 0).sum())
                row.kept_places += int(values[kept].sum())
                row.is_masked |= _is_masked(config, part.partition("/")[0], title)
    return list(found.values())


def _counted(config: CorpusConfig, source: str) -> dict[str, dict[str, str]]:
    """Group -> column -> title, of the groups that a source has."""
    annotations = source_annotations(config, source)
    names = {group.name for group in (*annotations.signal_groups, *annotations.editors)}
    titles = {
        "pii": {column: kind for kind, column in pii.COLUMNS.items()},
        "terms": {one.column: one.name for one in term_lists.load(config)},
    }
    return {group: columns for group, columns in titles.items() if group in names}


def _is_masked(config: CorpusConfig, source: str, kind: str) -> bool:
    return any(
        editor.name == "pii" and kind in editor.settings["mask"]
        for editor in source_annotations(config, source).editors
    )
