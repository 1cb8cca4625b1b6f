"""Reading a file in tests: what became of each of its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from os import PathLike

from pipelines.sources import SourceFormat
from pipelines.sources.records import (
    WHOLE_FILE,
    Casualty,
    Document,
    Outcome,
    PartRange,
    RawRecord,
    Skip,
)

MAX_DOCUMENT_BYTES = 1 << 20


class Outcomes(list[Outcome]):
    """The fate of each record, in order."""

    def __init__(self, records: Iterable[RawRecord]) -> None:
        raw = list(records)
        super().__init__(record.parse() for record in raw)
        self.offsets = [record.offset for record in raw]
        assert self.offsets == sorted(self.offsets), "offsets must never go back"

    @property
    def documents(self) -> list[Document]:
        return [outcome for outcome in self if isinstance(outcome, Document)]

    @property
    def casualties(self) -> list[Casualty]:
        return [outcome for outcome in self if isinstance(outcome, Casualty)]

    @property
    def texts(self) -> list[str]:
        return [document.text for document in self.documents]

    @property
    def counts(self) -> dict[str, int]:
        """Number per fate: `document`, a kind of casualty, or `skip:` and a kind of skip."""
        return dict(Counter(map(_fate, self)))


def _fate(outcome: Outcome) -> str:
    match outcome:
        case Document():
            return "document"
        case Casualty(kind=kind):
            return kind
        case Skip(kind=kind):
            return f"skip:{kind}"


def read(
    source: SourceFormat,
    path: str | PathLike[str],
    part: PartRange = WHOLE_FILE,
    max_document_bytes: int = MAX_DOCUMENT_BYTES,
) -> Outcomes:
    """All records of `path` in `part`; their addresses begin with `file`."""
    return Outcomes(source.read(str(path), "file", part, max_document_bytes))


def read_parts(
    source: SourceFormat, path: str | PathLike[str], num_bytes: int, part_bytes: int
) -> Outcomes:
    """The parts of a file that can be entered, each read on its own, joined."""
    assert source.can_enter(str(path))
    return Outcomes(
        record
        for start in range(0, num_bytes, part_bytes)
        for record in source.read(
            str(path), "file", PartRange(start, start + part_bytes), MAX_DOCUMENT_BYTES
        )
    )
