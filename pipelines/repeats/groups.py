"""Equal units: grouped in each part, then across parts; which of them are cut.

Pure core of the stage. A part sends one row for each distinct unit that it holds, so a line in a
hundred million documents is as many rows as there are parts. What comes back says for each of them
whether the part cuts all its copies, or all but the first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from filters.repeated_units import Units

ROW = np.dtype(
    [
        ("high", "<u8"),
        ("low", "<u8"),
        ("rank", "<u4"),
        ("part", "<u4"),
        ("group", "<u4"),
        ("count", "<u4"),
    ]
)
"""One unit in one part: its hash, the best rank of a document that holds it, where, how often."""
CUT = np.dtype([("group", "<u4"), ("keeps_first", "<u4")])
SPAN = np.dtype([("group", "<u4"), ("row", "<u4"), ("start", "<u8"), ("end", "<u8")])


class Rule(NamedTuple):
    """Which copies of a unit go."""

    min_count: int
    """Copies, or documents, that hold a unit: from here on it is cut."""
    per_document: bool
    """Copies in one document count once."""
    keeps_first: bool
    """The best copy stays."""


def group_units(
    units: Units, ranks: npt.NDArray[np.uint32], part: int, per_document: bool
) -> tuple[np.ndarray, np.ndarray]:
    """ROW for each distinct unit of a part by hash; SPAN by group, the first copy first.

    `ranks` are those of the documents, by row.
    """
    rank = ranks[units.rows]
    order = np.lexsort((units.starts, rank, units.low, units.high))
    high, low, rank = units.high[order], units.low[order], rank[order]
    opens = np.ones(len(order), bool)
    opens[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    first = np.flatnonzero(opens)
    group = np.cumsum(opens) - 1
    counted = opens.copy()
    counted[1:] |= rank[1:] != rank[:-1]
    rows = np.empty(len(first), ROW)
    rows["high"], rows["low"], rows["rank"] = high[first], low[first], rank[first]
    rows["part"], rows["group"] = part, np.arange(len(first))
    weights = counted if per_document else np.ones(len(order), bool)
    rows["count"] = np.bincount(group, weights, minlength=len(first)).astype(np.uint32)
    spans = np.empty(len(order), SPAN)
    spans["group"], spans["row"] = group, units.rows[order]
    spans["start"], spans["end"] = units.starts[order], units.ends[order]
    return rows, spans


def decide(rows: np.ndarray, rule: Rule) -> tuple[npt.NDArray[np.uint32], np.ndarray]:
    """For units to cut: the part and its CUT. `rows` (ROW) hold all rows of their hashes."""
    rows = rows[np.lexsort((rows["rank"], rows["low"], rows["high"]))]
    opens = np.ones(len(rows), bool)
    opens[1:] = (rows["high"][1:] != rows["high"][:-1]) | (rows["low"][1:] != rows["low"][:-1])
    number = np.cumsum(opens) - 1
    total = np.bincount(number, rows["count"], minlength=int(opens.sum()))
    keeps_first = opens & rule.keeps_first
    cut = total[number] >= rule.min_count if len(rows) else opens
    cut &= ~keeps_first | (rows["count"] > 1)  # a single first copy loses nothing
    found = np.empty(int(cut.sum()), CUT)
    found["group"], found["keeps_first"] = rows["group"][cut], keeps_first[cut]
    return rows["part"][cut], found


def spans_to_cut(spans: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """The SPAN rows that `cuts` (CUT) name, without the first of groups that keep it."""
    named = np.zeros(int(spans["group"].max(initial=0)) + 1, np.uint8)
    named[cuts["group"]] = 1 + cuts["keeps_first"]
    state = named[spans["group"]]
    first = np.ones(len(spans), bool)
    first[1:] = spans["group"][1:] != spans["group"][:-1]
    return spans[(state == 1) | ((state == 2) & ~first)]


def joined(spans: np.ndarray) -> np.ndarray:
    """By row and place; those that overlap or touch are one. Their groups mean nothing any more."""
    spans = spans[np.lexsort((spans["start"], spans["row"]))]
    if len(spans) == 0:
        return spans
    row, start, end = spans["row"].astype(np.int64), spans["start"], spans["end"]
    wide = np.uint64(1) << np.uint64(40)  # longer than any text: rows do not touch
    reach = np.maximum.accumulate(row.astype(np.uint64) * wide + end)
    opens = np.ones(len(spans), bool)
    opens[1:] = row[1:].astype(np.uint64) * wide + start[1:] > reach[:-1]
    opens[1:] |= row[1:] != row[:-1]
    first = np.flatnonzero(opens)
    last = np.append(first[1:], len(spans)) - 1
    merged = spans[first]
    merged["end"] = reach[last] - merged["row"].astype(np.uint64) * wide
    return merged
