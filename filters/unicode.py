"""Character classes of every code point.

One word of flags per code point answers all the questions that the quality rules ask of a
character. The table is data (`models/char_classes.npz`, 12 kB) and not computed at start: counts
must not depend on the Unicode version of the Python that made them. `python -m filters.unicode`
writes it anew; that changes counts, so it needs a new version of the signal groups.

    SPACE       str.isspace; LINE_BREAK: the breaks of str.splitlines
    ALPHA       str.isalpha; LETTER: ALPHA or a combining mark
    LOWER       lower case, or a letter or mark of a script without case; UPPER likewise
    DIGIT       0-9; DECIMAL: decimal digits of all scripts
    PUNCT       general category P*
    PREFIX      cut from the front of a word; SUFFIX: from its end; ICON: symbols, cut anywhere
    QUOTE, CURRENCY, HYPHEN     see segment.py
    SOLO        a letter of a script written without spaces (Han, kana, Thai, ...): a word each
    MARK        combining mark: stays with the character before
    SYMBOL      a word of nothing else is no word for Gopher's counts (set of datatrove 0.10)
    TERMINAL    ends a sentence: Unicode's Sentence_Terminal, as FineWeb uses it (159 characters)
    CAPITAL     str.isupper
    NUMERAL     str.isdigit: DECIMAL, superscripts, digits in circles, ...
"""

from __future__ import annotations

import functools
import string
import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

(
    SPACE,
    LINE_BREAK,
    ALPHA,
    LETTER,
    LOWER,
    UPPER,
    DIGIT,
    PUNCT,
    PREFIX,
    SUFFIX,
    ICON,
    QUOTE,
    CURRENCY,
    HYPHEN,
    SOLO,
    MARK,
    SYMBOL,
    TERMINAL,
    DECIMAL,
    CAPITAL,
    NUMERAL,
) = (1 << bit for bit in range(21))

UNICODE_VERSION = "14.0.0"
NUM_CODE_POINTS = 0x110000
TABLE_PATH = Path(__file__).parent / "models" / "char_classes.npz"

_UNSPACED_SCRIPTS = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x2E80, 0x2FDF),  # Han radicals
    (0x3005, 0x3007),
    (0x3040, 0x312F),  # kana, Bopomofo
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0xA4CF),  # Han, Yi
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAADF),
    (0xF900, 0xFAFF),  # Han
    (0xFF66, 0xFF9F),  # half-width kana
    (0x1AFF0, 0x1B2FF),  # kana, Nushu
    (0x20000, 0x3FFFF),  # Han
)
# Sentence_Terminal of Unicode 15, without the ellipsis-like U+2024 and the vertical forms.
_TERMINALS = (
    "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E "
    "1735-1736 17D4-17D6 17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E "
    "1C3B-1C3C 1C7E-1C7F 203C-203D 2047-2049 2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 "
    "A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB FE52 FE56-FE57 FF01 FF0E FF1F "
    "FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143 111C5-111C6 "
    "111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 "
    "11641-11642 1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 "
    "11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 16B44 16E98 1BC9F 1DA88"
)
# str.isnumeric, but neither ALPHA nor DECIMAL: fractions, Roman numerals, numbers in circles. Not a
# flag: the table would have more than 256 distinct blocks.
_OTHER_NUMBERS = (
    "B2-B3 B9 BC-BE 9F4-9F9 B72-B77 BF0-BF2 C78-C7E D58-D5E D70-D78 F2A-F33 1369-137C 16EE-16F0 "
    "17F0-17F9 19DA 2070 2074-2079 2080-2089 2150-2182 2185-2189 2460-249B 24EA-24FF 2776-2793 "
    "2CFD 3007 3021-3029 3038-303A 3192-3195 3220-3229 3248-324F 3251-325F 3280-3289 32B1-32BF "
    "A6E6-A6EF A830-A835 10107-10133 10140-10178 1018A-1018B 102E1-102FB 10320-10323 10341 1034A "
    "103D1-103D5 10858-1085F 10879-1087F 108A7-108AF 108FB-108FF 10916-1091B 109BC-109BD "
    "109C0-109CF 109D2-109FF 10A40-10A48 10A7D-10A7E 10A9D-10A9F 10AEB-10AEF 10B58-10B5F "
    "10B78-10B7F 10BA9-10BAF 10CFA-10CFF 10E60-10E7E 10F1D-10F26 10F51-10F54 10FC5-10FCB "
    "11052-11065 111E1-111F4 1173A-1173B 118EA-118F2 11C5A-11C6C 11FC0-11FD4 12400-1246E "
    "16B5B-16B61 16E80-16E96 1D2E0-1D2F3 1D360-1D378 1E8C7-1E8CF 1EC71-1ECAB 1ECAD-1ECAF "
    "1ECB1-1ECB4 1ED01-1ED2D 1ED2F-1ED3D 1F100-1F10C"
)
_SYMBOLS = (
    "0-8 B-1F 7F-9F AB B4 BB 2013-2014 2019 201C-201E 2026 2236 2501 25BA 3001 3008-300D "
    "3010-3011 FF05 FF08-FF09 FF0C FF11 FF1A-FF1B FF5E"
)
_QUOTES = frozenset("'\"`") | frozenset(map(chr, (0xAB, 0xB4, 0xBB, *range(0x2018, 0x201F))))
_INSIDE_WORDS = frozenset("-/@.\\")  # ASCII punctuation that no end of a word loses
_LINE_BREAKS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")


class CharClasses(NamedTuple):
    """Flags of code point c: `flags[classes[blocks[c >> 7] << 7 | c & 127]]`.

    blocks uint8[8704]; classes uint8[128 * distinct blocks]; flags uint32[distinct flags].
    """

    blocks: npt.NDArray[np.uint8]
    classes: npt.NDArray[np.uint8]
    flags: npt.NDArray[np.uint32]


def load() -> CharClasses:
    """The table that ships with the package."""
    with np.load(TABLE_PATH, allow_pickle=False) as arrays:
        return CharClasses(*(arrays[name] for name in CharClasses._fields))


def flags_of(code_point: int) -> int:
    """The flags of a code point as this Python's Unicode data gives them."""
    char = chr(code_point)
    category = unicodedata.category(char)
    letter = char.isalpha() or category[0] == "M"
    tests = {
        SPACE: char.isspace(),
        LINE_BREAK: char in _LINE_BREAKS,
        ALPHA: char.isalpha(),
        LETTER: letter,
        LOWER: letter and not char.isupper(),
        UPPER: letter and not char.islower(),
        DIGIT: char in string.digits,
        PUNCT: category[0] == "P",
        PREFIX: _cut_in_front(char, category),
        SUFFIX: _cut_at_end(char, category),
        ICON: category == "So",
        QUOTE: char in _QUOTES or category in ("Pi", "Pf"),
        CURRENCY: category == "Sc",
        HYPHEN: char in "-~" or code_point in (0x2013, 0x2014),
        SOLO: category[0] in "LN" and _within(code_point, _UNSPACED_SCRIPTS),
        MARK: category[0] == "M",
        SYMBOL: char in string.punctuation or code_point in _set(_SYMBOLS + " " + _TERMINALS),
        TERMINAL: code_point in _set(_TERMINALS),
        DECIMAL: category == "Nd",
        CAPITAL: char.isupper(),
        NUMERAL: char.isdigit(),
    }
    return sum(flag for flag, holds in tests.items() if holds)


def _cut_at_end(char: str, category: str) -> bool:
    if char in _INSIDE_WORDS or char in "%~":
        return False
    if category[0] == "P":
        return category != "Pd" or ord(char) in (0x2013, 0x2014)
    return category == "So" or char in "<>`" or ord(char) in (0xB4, 0xFF5E)


def _cut_in_front(char: str, category: str) -> bool:
    return _cut_at_end(char, category) or category == "Sc" or char in "%="


def other_numbers() -> npt.NDArray[np.int64]:
    """The first code point of each range of them, and the one after its last: int64[2 * ranges]."""
    return np.array([edge for a, b in _ranges(_OTHER_NUMBERS) for edge in (a, b + 1)], np.int64)


@functools.cache
def _set(ranges: str) -> frozenset[int]:
    return frozenset(c for first, last in _ranges(ranges) for c in range(first, last + 1))


def _ranges(ranges: str) -> list[tuple[int, int]]:
    bounds = [[int(end, 16) for end in part.split("-")] for part in ranges.split()]
    return [(bound[0], bound[-1]) for bound in bounds]


def _within(code_point: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= code_point <= last for first, last in ranges)


def build() -> CharClasses:
    """The table of this Python; blocks of 128 code points, each distinct block stored once."""
    everything = [flags_of(code_point) for code_point in range(NUM_CODE_POINTS)]
    flags, classes = np.unique(np.array(everything, np.uint32), return_inverse=True)
    distinct, blocks = np.unique(classes.reshape(-1, 128), axis=0, return_inverse=True)
    assert max(len(flags), len(distinct)) <= 256
    return CharClasses(blocks.ravel().astype(np.uint8), distinct.ravel().astype(np.uint8), flags)


if __name__ == "__main__":
    if unicodedata.unidata_version != UNICODE_VERSION:
        raise SystemExit(
            f"this Python has Unicode {unicodedata.unidata_version}; the table is pinned to "
            f"{UNICODE_VERSION} (Python 3.11)"
        )
    np.savez_compressed(TABLE_PATH, **build()._asdict())
