"""Words of one chunk, which is a run of text without white space.

The rules are those of rule-based English tokenizers (spaCy's blank pipeline is the model, since
the published thresholds were applied to its tokens), stated on Unicode classes so that they hold
in every script:

    1  a contraction or abbreviation of contractions.py is split as listed there
    2  else one prefix and one suffix are cut off (punctuation, quotes, currency, icons, 's, the
       period after lower case, a digit or a closing mark), and rule 1 is tried again, until
       neither is found
    3  what remains is one word if it looks like a web or e-mail address
    4  else it is cut around infixes: ellipses, icons, `2*3`, `end.Next`, `a,b`, `well-known`, `a/b`

A chunk is at most MAX_CHUNK_BYTES long, so that all work is bounded; letters of scripts written
without spaces are chunks of their own (see strings.py). Cost: linear in the chunk.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.contractions import HASH_PRIME, HASH_SEED, MAX_CHARS, Contractions, text_hash
from filters.contractions import load as load_contractions
from filters.unicode import (
    CURRENCY,
    DIGIT,
    HYPHEN,
    ICON,
    LETTER,
    LOWER,
    PREFIX,
    QUOTE,
    SUFFIX,
    UPPER,
    CharClasses,
    classes_of,
    decode,
)
from filters.unicode import load as load_classes

MAX_CHUNK_BYTES = 4096

_DOT, _PLUS, _MINUS, _AT, _COMMA, _APOSTROPHE = (ord(c) for c in ".+-@,'")
_ELLIPSIS, _CURLY_APOSTROPHE, _EN_DASH, _EM_DASH = 0x2026, 0x2019, 0x2013, 0x2014
_LIST_UNITS = (
    "km m dm cm mm ha nm yd in ft kg g mg t lb oz m/s km/h kmh mph hPa Pa mbar mb MB kb KB gb GB "
    "tb TB T G M K % km\xb2 km\xb3 m\xb2 m\xb3 dm\xb2 dm\xb3 cm\xb2 cm\xb3 mm\xb2 mm\xb3 "
    "\xb5m \xb5g"
)
_UNITS = _LIST_UNITS.split()
MAX_UNIT_CHARS = max(map(len, _UNITS))


class Chunk(NamedTuple):
    """Work memory for one chunk: its characters, and where its words end.

    chars int32, flags uint32, starts int32 (byte in the chunk; one more entry than characters);
    cuts bool: a word ends before character k.
    """

    chars: npt.NDArray[np.int32]
    flags: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int32]
    cuts: npt.NDArray[np.bool_]


class Rules(NamedTuple):
    """What the kernels read: character classes, contractions, hashes of units, sorted."""

    classes: CharClasses
    contractions: Contractions
    units: npt.NDArray[np.uint64]


def new_chunk() -> Chunk:
    size = MAX_CHUNK_BYTES + 8
    return Chunk(
        np.zeros(size, np.int32),
        np.zeros(size, np.uint32),
        np.zeros(size, np.int32),
        np.zeros(size, np.bool_),
    )


@functools.cache
def load_rules() -> Rules:
    """The rules that ship with the package, read once per process."""
    units = np.array(sorted(text_hash(unit) for unit in _UNITS), np.uint64)
    return Rules(load_classes(), load_contractions(), units)


@numba.njit(nogil=True)
def segment(data, start, stop, rules, chunk):
    """Set `chunk` to the characters of data[start:stop] and the ends of its words.

    Returns the number of characters. `chunk.cuts[n]` is set for n characters.
    """
    size = _decode_chunk(data, start, stop, rules.classes, chunk)
    for k in range(size):
        chunk.cuts[k] = False
    chunk.cuts[size] = True
    first, last = _cut_ends(chunk, size, rules)
    if first < last:
        mask = _contraction(chunk, first, last, rules.contractions)
        if mask:
            for k in range(1, last - first):
                if mask >> np.uint32(k) & np.uint32(1):
                    chunk.cuts[first + k] = True
        elif not _is_address(chunk, first, last):
            _cut_infixes(chunk, first, last)
    return size


@numba.njit(nogil=True)
def _decode_chunk(data, start, stop, classes, chunk):
    size = 0
    i = start
    while i < stop:
        code_point, after = decode(data, i, stop)
        chunk.chars[size] = code_point
        chunk.flags[size] = classes_of(classes, code_point)
        chunk.starts[size] = i - start
        size += 1
        i = after
    chunk.starts[size] = stop - start
    return size


@numba.njit(nogil=True)
def _cut_ends(chunk, size, rules):
    """Rule 2: cut prefixes and suffixes; returns what remains, as a range of characters."""
    first, last = 0, size
    contractions = rules.contractions
    while first < last and not _contraction(chunk, first, last, contractions):
        prefix = _prefix(chunk, first, last)
        if prefix and _contraction(chunk, first + prefix, last, contractions):
            chunk.cuts[first + prefix] = True
            return first + prefix, last
        suffix = _suffix(chunk, first + prefix, last, rules.units)
        if suffix and _contraction(chunk, first, last - suffix, contractions):
            chunk.cuts[last - suffix] = True
            return first, last - suffix
        if not prefix and not suffix:
            break
        first += prefix
        last -= suffix
        chunk.cuts[first] = True
        chunk.cuts[last] = True
    return first, last


@numba.njit(nogil=True)
def _hash(chunk, first, last):
    value = HASH_SEED
    for k in range(first, last):
        char = chunk.chars[k]
        if char == _CURLY_APOSTROPHE:
            char = _APOSTROPHE
        value = (value ^ np.uint64(char)) * HASH_PRIME
    return value


@numba.njit(nogil=True)
def _contraction(chunk, first, last, contractions):
    """The mask of an entry of contractions.py, 0 when the characters are none."""
    if first >= last or last - first > MAX_CHARS:
        return np.uint32(0)
    value = _hash(chunk, first, last)
    slot = value & np.uint64(contractions.keys.size - 1)
    while contractions.keys[slot]:
        if contractions.keys[slot] == value:
            return contractions.cuts[slot]
        slot = (slot + np.uint64(1)) & np.uint64(contractions.keys.size - 1)
    return np.uint32(0)


@numba.njit(nogil=True)
def _dots(chunk, k, last):
    """How many periods stand in a row from character k on."""
    count = 0
    while k + count < last and chunk.chars[k + count] == _DOT:
        count += 1
    return count


@numba.njit(nogil=True)
def _prefix(chunk, first, last):
    """Number of characters to cut in front."""
    char = chunk.chars[first]
    if chunk.flags[first] & PREFIX:
        return 1
    if char == _DOT:
        dots = _dots(chunk, first, last)
        return dots if dots > 1 else 0
    if char == _PLUS:
        return 0 if first + 1 < last and chunk.flags[first + 1] & DIGIT else 1
    return 0


@numba.njit(nogil=True)
def _suffix(chunk, first, last, units):
    """Number of characters to cut at the end of characters first..last."""
    if first >= last:
        return 0
    char, flags = chunk.chars[last - 1], chunk.flags[last - 1]
    before = chunk.chars[last - 2] if last - 2 >= first else 0
    before_flags = chunk.flags[last - 2] if last - 2 >= first else np.uint32(0)
    if char == _DOT:
        return _final_dots(chunk, first, last)
    if flags & SUFFIX:
        return 1
    if before_flags & DIGIT and (char == _PLUS or flags & CURRENCY):
        return 1
    if char in (ord("s"), ord("S")) and before in (_APOSTROPHE, _CURLY_APOSTROPHE):
        return 2
    return _unit(chunk, first, last, units)


@numba.njit(nogil=True)
def _final_dots(chunk, first, last):
    dots = 1
    while last - dots > first and chunk.chars[last - dots - 1] == _DOT:
        dots += 1
    if dots > 1:
        return dots
    if last - 2 < first:
        return 0
    before, flags = chunk.chars[last - 2], chunk.flags[last - 2]
    if flags & (DIGIT | LOWER | SUFFIX):
        return 1
    if before in (_PLUS, _MINUS, ord("%"), 0xB2):
        return 1
    if flags & UPPER and last - 3 >= first and chunk.flags[last - 3] & UPPER:
        return 1
    return 0


@numba.njit(nogil=True)
def _unit(chunk, first, last, units):
    """The length of a unit that follows a digit: 5km, 20%."""
    for length in range(min(MAX_UNIT_CHARS, last - first - 1), 0, -1):
        if chunk.flags[last - length - 1] & DIGIT:
            value = _hash(chunk, last - length, last)
            k = np.searchsorted(units, value)
            if k < units.size and units[k] == value:
                return length
    return 0


@numba.njit(nogil=True)
def _is_address(chunk, first, last):
    """Rule 3: `scheme://...`, `user@host.tld`, `host.tld`, with a port and a path or not."""
    start = first
    for k in range(first, last - 2):
        if chunk.chars[k] == ord(":") and chunk.chars[k + 1] == ord("/") == chunk.chars[k + 2]:
            start = k + 3
            break
    for k in range(start, last):
        if chunk.chars[k] == _AT:
            start = k + 1
    label, dots, k = start, 0, start
    while k < last:
        char, flags = chunk.chars[k], chunk.flags[k]
        if char == _DOT:
            if k == label or chunk.chars[k - 1] == _MINUS:
                return False
            dots += 1
            label = k + 1
        elif char in (ord("/"), ord("?"), ord("#")):
            break
        elif char == ord(":"):
            if k + 1 == last or not chunk.flags[k + 1] & DIGIT:
                return False
            break
        elif not (flags & (LETTER | DIGIT) or char >= 0xA1 or char == _MINUS or char == ord("_")):
            return False
        k += 1
    if dots == 0 or k - label < 2:
        return False
    while label < k and chunk.flags[label] & LOWER:
        label += 1
    return label == k


@numba.njit(nogil=True)
def _cut_infixes(chunk, first, last):
    """Rule 4: cut around what stands between two parts of characters first..last."""
    k = first + 1
    while k < last:
        length = _infix(chunk, k, first, last)
        if length:
            chunk.cuts[k] = True
            chunk.cuts[k + length] = True
            k += length
        else:
            k += 1


@numba.njit(nogil=True)
def _infix(chunk, k, first, last):
    """The length of an infix at character k > first, 0 when there is none."""
    char, flags = chunk.chars[k], chunk.flags[k]
    if flags & LETTER:
        return 0
    if char == _ELLIPSIS or flags & ICON:
        return 1
    if char == _DOT:
        dots = _dots(chunk, k, last)
        if dots > 1:
            return dots
    before = chunk.flags[k - 1]
    after = chunk.flags[k + 1] if k + 1 < last else np.uint32(0)
    if char == _DOT:
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    if char == _COMMA:
        return 1 if before & LETTER and after & LETTER else 0
    if before & DIGIT and char in (_PLUS, _MINUS, ord("*"), ord("^")):
        digit_or_minus = after & DIGIT or (k + 1 < last and chunk.chars[k + 1] == _MINUS)
        if digit_or_minus:
            return 1
    if not before & (LETTER | DIGIT):
        return 0
    if after & LETTER and (
        flags & HYPHEN or char in (ord(":"), ord("<"), ord(">"), ord("="), ord("/"))
    ):
        return 1
    return _double_dash(chunk, k, last)


@numba.njit(nogil=True)
def _double_dash(chunk, k, last):
    """The length of `--`, `---` or two em dashes before a letter."""
    length = 0
    while k + length < last and chunk.chars[k + length] == chunk.chars[k] and length < 4:
        length += 1
    if k + length >= last or not chunk.flags[k + length] & LETTER:
        return 0
    if chunk.chars[k] == _MINUS:
        return length if 2 <= length <= 3 else 0
    return length if chunk.chars[k] == _EM_DASH and length == 2 else 0
