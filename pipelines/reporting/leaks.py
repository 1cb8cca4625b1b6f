"""Text of evaluation sets that documents hold: counts per evaluation, and the first examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from filters.decontamination import Coverage
from pipelines import evaluations
from pipelines.config import CorpusConfig
from pipelines.reporting.samples import read_row
from storage import tables

MAX_EXAMPLES = 3
"""Of each evaluation."""
MAX_CHARS = 300
EDITS = "edits/decontamination"


@dataclass(frozen=True, slots=True)
class Leak:
    """A span of a document, with what stands around it."""

    doc_id: int
    source: str
    record: str
    before: str
    text: str
    after: str


@dataclass
class Leaks:
    """What documents share with one evaluation."""

    coverage: Coverage
    documents: Counter[str] = field(default_factory=Counter)
    """By source; a document may share text with several evaluations."""
    num_spans: int = 0
    num_bytes: int = 0
    examples: list[Leak] = field(default_factory=list)


def find_leaks(config: CorpusConfig, parts: Sequence[str]) -> list[Leaks]:
    """A row per evaluation of the configuration, in order. Reads the text of examples only."""
    files = evaluations.configured(config)
    if not files:
        return []
    leaks = {one.name: Leaks(one) for one in evaluations.index(files).coverage}
    for part in parts:
        spans = tables.read_table(
            config.path(EDITS, f"{part}.parquet"), ["row", "start", "end", "reason"]
        )
        names = np.asarray(spans["reason"].to_pylist(), object)
        for name in dict.fromkeys(names):
            _add(leaks[name], config, part, spans.filter(names == name).to_pylist())
    return list(leaks.values())


def _add(leaks: Leaks, config: CorpusConfig, part: str, spans: list[dict[str, int]]) -> None:
    leaks.documents[part.partition("/")[0]] += len({span["row"] for span in spans})
    leaks.num_spans += len(spans)
    leaks.num_bytes += sum(span["end"] - span["start"] for span in spans)
    for span in spans[: MAX_EXAMPLES - len(leaks.examples)]:
        leaks.examples.append(_example(config, part, span))


def _example(config: CorpusConfig, part: str, span: dict[str, int]) -> Leak:
    path = config.path("documents", f"{part}.parquet")
    document = read_row(path, span["row"], ["doc_id", "source", "record", "text"])
    data = document.pop("text").encode()
    before, text, after = (
        piece.decode("utf-8", "ignore")
        for piece in (
            data[max(0, span["start"] - MAX_CHARS) : span["start"]],
            data[span["start"] : span["end"]],
            data[span["end"] : span["end"] + MAX_CHARS],
        )
    )
    return Leak(**document, before=before[-80:], text=text[:MAX_CHARS], after=after[:80])
