"""Document ids: `doc_id uint64 = unit (23 bits) | part (12) | row (28)`.

An id is an address: it says where a document lies. It carries no order, and no tie or split
may depend on it (see docs/tables.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UNIT_BITS, PART_BITS, ROW_BITS = 23, 12, 28
MAX_UNITS, MAX_PARTS, MAX_ROWS = 1 << UNIT_BITS, 1 << PART_BITS, 1 << ROW_BITS


class Address(NamedTuple):
    unit: int
    part: int
    row: int


def pack_doc_id(unit: int, part: int, row: int) -> int:
    """The id of one row of a part. Raises ValueError when a number is too large."""
    for name, value, limit in (
        ("unit", unit, MAX_UNITS),
        ("part", part, MAX_PARTS),
        ("row", row, MAX_ROWS),
    ):
        if not 0 <= value < limit:
            raise ValueError(f"{name} {value} does not fit a document id (0 to {limit - 1})")
    return unit << (PART_BITS + ROW_BITS) | part << ROW_BITS | row


def doc_ids(unit: int, part: int, first_row: int, num_rows: int) -> np.ndarray:
    """uint64[num_rows]: the ids of consecutive rows of one part."""
    first = pack_doc_id(unit, part, first_row)
    if num_rows:
        pack_doc_id(unit, part, first_row + num_rows - 1)
    return np.arange(first, first + num_rows, dtype=np.uint64)


def unpack_doc_id(doc_id: int) -> Address:
    doc_id = int(doc_id)
    row = doc_id & (MAX_ROWS - 1)
    part = doc_id >> ROW_BITS & (MAX_PARTS - 1)
    return Address(doc_id >> (PART_BITS + ROW_BITS), part, row)


def part_name(unit: int, part: int) -> str:
    """File stem of one part: `0000012-0003`."""
    return f"{unit:07d}-{part:04d}"


def parse_part_name(name: str) -> tuple[int, int]:
    unit, _, part = name.partition("-")
    return int(unit), int(part)
