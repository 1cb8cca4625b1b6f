"""What each Unicode code point contributes to the words that are compared across documents.

Two copies of a text should give the same words although one is upper case, NFD, full-width,
typeset with ligatures or stripped of its accents. A code point is replaced by its compatibility
decomposition and case folding, repeated until stable (Unicode 5.18.4, `NFKC_Casefold`, but left
decomposed, so that the replacement needs no context), and each resulting code point is one of

    WORD       letters, digits of every script, unassigned code points: continue the word
    SINGLE     letters of scripts written without spaces (Han, kana, Thai, Khmer ...): a word each
    MARK       vowel signs, viramas, voicing marks: belong to the letter before, word or single
    DROP       optional marks (accents, Arabic and Hebrew points), soft hyphens, joiners: vanish
    SEPARATOR  everything else: white space, punctuation, symbols, controls, private use

Digits stay as they are: reports and tables that differ in their numbers are different documents.
Unassigned code points count as letters because nearly all of them become letters.

The table is data (`models/word_table.npz`, 49 kB), not computed at start: a signature must not
depend on the Unicode version of the Python that made it. `python -m filters.word_table` writes it
anew, which changes signatures, so it needs a new version of the signal groups that use it.
"""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SEPARATOR, WORD, SINGLE, MARK, DROP, EXPAND = range(6)

NUM_CODE_POINTS = 0x110000
UNICODE_VERSION = "14.0.0"
_PATH = Path(__file__).parent / "models" / "word_table.npz"

# Marks on letters that are also written without them, and variation selectors.
_OPTIONAL_MARKS = (
    (0x0300, 0x036F),  # Latin, Greek, Cyrillic
    (0x0483, 0x0489),
    (0x0591, 0x05C7),  # Hebrew points and cantillation
    (0x0610, 0x061A),  # Arabic
    (0x064B, 0x065F),
    (0x0670, 0x0670),
    (0x06D6, 0x06ED),
    (0x0730, 0x074A),  # Syriac
    (0x08CA, 0x08FF),
    (0x180B, 0x180F),  # Mongolian variation selectors
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20FF),
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFE20, 0xFE2F),
    (0xE0100, 0xE01EF),
)
_IGNORABLE = frozenset({0x00AD, 0x0640, 0x115F, 0x1160, 0x3164, 0xFFA0})
_UNSPACED_SCRIPTS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0x2E80, 0x2FDF),  # Han radicals
    (0x3005, 0x3007),
    (0x3040, 0x312F),  # kana, Bopomofo
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0xA4CF),  # Han, Yi
    (0xA980, 0xA9DF),  # Javanese
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0xF900, 0xFAFF),  # Han
    (0x12000, 0x1254F),  # cuneiform
    (0x13000, 0x1342F),  # hieroglyphs
    (0x17000, 0x18CFF),  # Tangut, Khitan
    (0x1AFF0, 0x1B2FF),  # kana, Nushu
    (0x20000, 0x3FFFF),  # Han
)


class WordTable(NamedTuple):
    """Entry of code point c: `e = (blocks[c >> 7] << 7) | (c & 127)`.

    blocks uint16[8704]; kinds uint8[entries]: one of the kinds above, or EXPAND; deltas
    int32[entries]: the replacement is code point `c + deltas[e]`; for EXPAND it is
    `deltas[e] & 31` pieces from `deltas[e] >> 5` on. pieces uint32: kind << 24 | code point.
    """

    blocks: npt.NDArray[np.uint16]
    kinds: npt.NDArray[np.uint8]
    deltas: npt.NDArray[np.int32]
    pieces: npt.NDArray[np.uint32]


@functools.cache
def load() -> WordTable:
    """The table that ships with the package, read once per process."""
    with np.load(_PATH, allow_pickle=False) as arrays:
        table = WordTable(*(arrays[name] for name in WordTable._fields))
    for array in table:
        array.flags.writeable = False
    return table


def fold(character: str) -> str:
    """Compatibility decomposition and case folding of one character, until nothing changes."""
    while True:
        folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
        if folded == character:
            return folded
        character = folded


def kind(code_point: int) -> int:
    """The kind of a code point that `fold` leaves unchanged."""
    category = unicodedata.category(chr(code_point))
    if code_point in _IGNORABLE or category == "Cf":
        return DROP
    if category in ("Mn", "Me", "Mc"):
        return DROP if _within(code_point, _OPTIONAL_MARKS) else MARK
    if category[0] == "L" or category in ("Nl", "No", "Cn"):
        return SINGLE if _within(code_point, _UNSPACED_SCRIPTS) else WORD
    return WORD if category == "Nd" else SEPARATOR


def build() -> WordTable:
    """The table as this Python's Unicode data gives it."""
    kinds = np.zeros(NUM_CODE_POINTS, np.uint8)
    deltas = np.zeros(NUM_CODE_POINTS, np.int32)
    pieces: list[int] = []
    for code_point in range(NUM_CODE_POINTS):
        folded = [(kind(c), c) for c in map(ord, fold(chr(code_point))) if kind(c) != DROP]
        if not folded:
            kinds[code_point] = DROP
        elif len(folded) == 1:
            kinds[code_point] = folded[0][0]
            deltas[code_point] = folded[0][1] - code_point
        else:
            kinds[code_point] = EXPAND
            deltas[code_point] = len(pieces) << 5 | len(folded)
            pieces += [piece_kind << 24 | c for piece_kind, c in folded]
    return WordTable(*_share_blocks(kinds, deltas), np.array(pieces, np.uint32))


def _share_blocks(
    kinds: npt.NDArray[np.uint8], deltas: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Blocks of 128 code points, each distinct block stored once."""
    deltas = np.where((kinds == SEPARATOR) | (kinds == DROP), 0, deltas).astype(np.int32)
    rows = np.column_stack((kinds.reshape(-1, 128), deltas.reshape(-1, 128)))
    distinct, blocks = np.unique(rows, axis=0, return_inverse=True)
    return (
        blocks.ravel().astype(np.uint16),
        distinct[:, :128].astype(np.uint8).ravel(),
        distinct[:, 128:].astype(np.int32).ravel(),
    )


def _within(code_point: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= code_point <= last for first, last in ranges)


if __name__ == "__main__":
    if unicodedata.unidata_version != UNICODE_VERSION:
        raise SystemExit(
            f"this Python has Unicode {unicodedata.unidata_version}; the table is pinned to "
            f"{UNICODE_VERSION} (Python 3.11)"
        )
    np.savez_compressed(_PATH, **build()._asdict())
