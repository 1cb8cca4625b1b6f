"""How fast each stage was: all wall-clock figures of the report, and the only ones that change
when the same corpus is made again.

Seconds are busy seconds of one worker, summed over the parts as their markers have them; a part
that was finished before counts with the time it took then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.config import CorpusConfig
from pipelines.reporting.funnel import Funnel
from storage import commit

MARKERS = {
    "ingest": ("ingest",),
    "annotate": ("annotate", "signals"),
    "select": ("decisions/select",),
    "dedup": ("dedup", "semantic", "decisions/exact", "decisions/final"),
    "tokenizer": ("tokenizer",),
    "pack": ("pack",),
}
"""Folders of the markers that carry the seconds of a stage.

Those of `dedup` are of its driver, from candidates to decisions; `pairs` are within them.
"""


@dataclass(frozen=True, slots=True)
class StageTime:
    """Work of one stage, summed over its parts."""

    stage: str
    num_parts: int
    seconds: float
    text_bytes: int
    """Of the documents that the stage looks at; 0 where that says nothing."""

    @property
    def bytes_per_second(self) -> float:
        return self.text_bytes / self.seconds


def stage_times(config: CorpusConfig, funnels: Sequence[Funnel]) -> list[StageTime]:
    """The stages whose markers carry seconds, in order."""
    return list(_times(config, funnels))


def _times(config: CorpusConfig, funnels: Sequence[Funnel]) -> Iterator[StageTime]:
    stored = sum(funnel.stored_bytes for funnel in funnels)
    selected = sum(
        num_bytes
        for funnel in funnels
        for (stage, _), num_bytes in funnel.fates.num_bytes.items()
        if stage in ("", "exact", "fuzzy", "semantic")
    )
    packed = sum(funnel.packed_bytes for funnel in funnels)
    text_bytes = {"tokenizer": 0, "dedup": selected, "pack": packed}
    for stage, folders in MARKERS.items():
        markers = [one for folder in folders for one in commit.read_markers(config.output, folder)]
        timed = [sum(one.seconds.values()) for one in markers if one.seconds]
        if sum(timed):
            yield StageTime(stage, len(timed), sum(timed), text_bytes.get(stage, stored))
