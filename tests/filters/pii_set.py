"""The written test set of personal data: fixtures/pii.jsonl, and the score of a run over it.

Each line has a text in which `[[kind:value]]` marks what is to be found; texts without a mark hold
what resembles personal data and is none. All values are made up. A `~` in a secret is not part of
it: it keeps scanners of repositories from taking it for a real one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from filters import pii

PATH = Path(__file__).parent.parent / "fixtures" / "pii.jsonl"
_MARK = re.compile(r"\[\[(\w+):(.*?)\]\]", re.S)

Found = tuple[int, int, int, str]
"""Row, start and end in bytes, kind."""


class Score(NamedTuple):
    """Of one kind: spans are right when kind, start and end are."""

    right: int
    missed: int
    wrong: int

    @property
    def recall(self) -> float:
        return self.right / max(1, self.right + self.missed)

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.wrong)


def load() -> tuple[list[str], set[Found]]:
    """Texts without marks, and what is to be found in them."""
    texts: list[str] = []
    expected: set[Found] = set()
    for line in PATH.read_text(encoding="utf-8").split("\n"):
        if line:
            text, spans = _unmark(json.loads(line)["text"])
            expected |= {(len(texts), *span) for span in spans}
            texts.append(text)
    return texts, expected


def _unmark(marked: str) -> tuple[str, list[tuple[int, int, str]]]:
    text, at = "", 0
    spans = []
    for match in _MARK.finditer(marked):
        text += marked[at : match.start()]
        start = len(text.encode())
        kind = match[1]
        text += match[2].replace("~", "") if kind == "secret" else match[2]
        spans.append((start, len(text.encode()), kind))
        at = match.end()
    return text + marked[at:], spans


def found_in(texts: list[str]) -> set[Found]:
    found = pii.find(pa.array(texts, pa.large_string()))
    return {(row, span.start, span.end, span.kind) for row, span in found}


def scores(expected: set[Found], found: set[Found]) -> dict[str, Score]:
    """By kind, and of all kinds as "all"."""
    counts = {
        "right": Counter(one[3] for one in expected & found),
        "missed": Counter(one[3] for one in expected - found),
        "wrong": Counter(one[3] for one in found - expected),
    }
    by_kind = {kind: Score(*(counts[name][kind] for name in Score._fields)) for kind in pii.COLUMNS}
    total = Score(*(counts[name].total() for name in Score._fields))
    return {**by_kind, "all": total}
