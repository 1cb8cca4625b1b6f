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
without spaces are chunks of their own (chunks.py). Cost: linear in the chunk.
"""

from __future__ import annotations

import numba
import numpy as np

from filters import contractions
from filters.bits import hash_bytes
from filters.contractions import MAX_BYTES
from filters.kernels import inlined, leaf
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
)
from filters.utf8 import decode, flags_at

MAX_CHUNK_BYTES = 1024

_DOT, _PLUS, _MINUS, _AT, _COMMA, _APOSTROPHE = (ord(c) for c in ".+-@,'")
_ELLIPSIS, _CURLY_APOSTROPHE, _EN_DASH, _EM_DASH = 0x2026, 0x2019, 0x2013, 0x2014
_LIST_UNITS = (
    "km m dm cm mm ha nm yd in ft kg g mg t lb oz m/s km/h kmh mph hPa Pa mbar mb MB kb KB gb GB "
    "tb TB T G M K % km\xb2 km\xb3 m\xb2 m\xb3 dm\xb2 dm\xb3 cm\xb2 cm\xb3 mm\xb2 mm\xb3 "
    "\xb5m \xb5g"
)
_UNITS = _LIST_UNITS.split()
MAX_UNIT_CHARS = max(map(len, _UNITS))
_PACKED_UNITS = np.array(
    [sum(ord(char) << 16 * k for k, char in enumerate(unit)) for unit in _UNITS], np.uint64
)
_KEYS, _CUTS = contractions.load()
# One bit for each possible value of a key's upper 16 bits: 8 kB, which stay in the first cache.
_MAY_BE_KEY = np.zeros(1 << 13, np.uint8)
for _key in _KEYS[_KEYS != 0]:
    _MAY_BE_KEY[_key >> np.uint64(51)] |= np.uint8(1) << (_key >> np.uint64(48) & np.uint64(7))


CHARACTER = np.dtype(
    [
        ("char", np.int32),
        ("flags", np.uint32),
        ("start", np.int32),  # its first byte in the chunk
        ("cut", np.bool_),  # a word ends before it
    ],
    align=True,
)


@numba.njit(nogil=True)
def new_chunk():
    """Work memory for one chunk: CHARACTER records, one more than a chunk has characters."""
    return np.zeros(MAX_CHUNK_BYTES + 8, CHARACTER)


@leaf
def segment(data, start, stop, chunk):
    """Set `chunk` to the characters of data[start:stop] and the ends of its words.

    Returns the number of characters, n. `chunk[n]` is the end: its `cut` is set.
    """
    size = _decode_chunk(data, start, stop, chunk)
    first, last = _cut_ends(data, start, chunk, size)
    if first < last:
        mask = _contraction(data, start, chunk, first, last)
        if mask:
            for k in range(1, last - first):
                if mask >> np.uint32(k) & np.uint32(1):
                    chunk[first + k].cut = True
        elif not _is_address(chunk, first, last):
            _cut_infixes(chunk, first, last)
    return size


@leaf
def _decode_chunk(data, start, stop, chunk):
    size = 0
    i = start
    while i < stop:
        code_point, after = decode(data, i, stop)
        chunk[size].char = code_point
        chunk[size].flags = flags_at(code_point)
        chunk[size].start = i - start
        chunk[size].cut = False
        size += 1
        i = after
    chunk[size].start = stop - start
    chunk[size].cut = True
    return size


@leaf
def _cut_ends(data, start, chunk, size):
    """Rule 2: cut prefixes and suffixes; returns what remains, as a range of characters."""
    first, last = 0, size
    while first < last and not _contraction(data, start, chunk, first, last):
        prefix = _prefix(chunk, first, last)
        if prefix and _contraction(data, start, chunk, first + prefix, last):
            chunk[first + prefix].cut = True
            return first + prefix, last
        suffix = _suffix(chunk, first + prefix, last)
        if suffix and _contraction(data, start, chunk, first, last - suffix):
            chunk[last - suffix].cut = True
            return first, last - suffix
        if not prefix and not suffix:
            break
        first += prefix
        last -= suffix
        chunk[first].cut = True
        chunk[last].cut = True
    return first, last


@inlined
def contraction(value):
    """The mask of the entry of contractions.py with this hash, 0 when there is none."""
    bit = value >> np.uint64(48) & np.uint64(7)
    may_be = _MAY_BE_KEY[value >> np.uint64(51)] >> bit & np.uint64(1)
    return _look_up(value) if may_be else np.uint32(0)


@leaf
def _look_up(value):
    slot = np.int64(value) & (_KEYS.size - 1)
    while _KEYS[slot]:
        if _KEYS[slot] == value:
            return _CUTS[slot]
        slot = (slot + 1) & (_KEYS.size - 1)
    return np.uint32(0)


@leaf
def _contraction(data, start, chunk, first, last):
    """The mask of the entry that characters first..last are, 0 when they are none."""
    begin, end = start + chunk[first].start, start + chunk[last].start
    if first >= last or end - begin > MAX_BYTES:
        return np.uint32(0)
    return contraction(hash_bytes(data, begin, end))


@leaf
def _dots(chunk, k, last):
    """How many periods stand in a row from character k on."""
    count = 0
    while k + count < last and chunk[k + count].char == _DOT:
        count += 1
    return count


@leaf
def _prefix(chunk, first, last):
    """Number of characters to cut in front."""
    char = chunk[first].char
    if chunk[first].flags & PREFIX:
        return 1
    if char == _DOT:
        dots = _dots(chunk, first, last)
        return dots if dots > 1 else 0
    if char == _PLUS:
        return 0 if first + 1 < last and chunk[first + 1].flags & DIGIT else 1
    return 0


@leaf
def _suffix(chunk, first, last):
    """Number of characters to cut at the end of characters first..last."""
    if first >= last:
        return 0
    char, flags = chunk[last - 1].char, chunk[last - 1].flags
    before = chunk[last - 2].char if last - 2 >= first else 0
    before_flags = chunk[last - 2].flags if last - 2 >= first else np.uint32(0)
    if char == _DOT:
        return _final_dots(chunk, first, last)
    if flags & SUFFIX:
        return 1
    if before_flags & DIGIT and (char == _PLUS or flags & CURRENCY):
        return 1
    if char in (ord("s"), ord("S")) and before in (_APOSTROPHE, _CURLY_APOSTROPHE):
        return 2
    return _unit(chunk, first, last)


@leaf
def _final_dots(chunk, first, last):
    dots = 1
    while last - dots > first and chunk[last - dots - 1].char == _DOT:
        dots += 1
    if dots > 1:
        return dots
    if last - 2 < first:
        return 0
    before, flags = chunk[last - 2].char, chunk[last - 2].flags
    if flags & (DIGIT | LOWER | SUFFIX):
        return 1
    if before in (_PLUS, _MINUS, ord("%"), 0xB2):
        return 1
    if flags & UPPER and last - 3 >= first and chunk[last - 3].flags & UPPER:
        return 1
    return 0


@leaf
def _unit(chunk, first, last):
    """The length of a unit that follows a digit: 5km, 20%."""
    if chunk[last - 1].char == 0:
        return 0  # would be packed like nothing
    for length in range(min(MAX_UNIT_CHARS, last - first - 1), 0, -1):
        if not chunk[last - length - 1].flags & DIGIT:
            continue
        packed = np.uint64(0)
        for k in range(length):
            packed |= np.uint64(min(chunk[last - length + k].char, 0xFFFF)) << np.uint64(16 * k)
        for unit in _PACKED_UNITS:
            if unit == packed:
                return length
    return 0


@leaf
def _is_address(chunk, first, last):
    """Rule 3: `scheme://...`, `user@host.tld`, `host.tld`, with a port and a path or not."""
    start = first
    for k in range(first, last - 2):
        if chunk[k].char == ord(":") and chunk[k + 1].char == ord("/") == chunk[k + 2].char:
            start = k + 3
            break
    for k in range(start, last):
        if chunk[k].char == _AT:
            start = k + 1
    label, dots, k = start, 0, start
    while k < last:
        char, flags = chunk[k].char, chunk[k].flags
        if char == _DOT:
            if k == label or chunk[k - 1].char == _MINUS:
                return False
            dots += 1
            label = k + 1
        elif char in (ord("/"), ord("?"), ord("#")):
            break
        elif char == ord(":"):
            if k + 1 == last or not chunk[k + 1].flags & DIGIT:
                return False
            break
        elif not (flags & (LETTER | DIGIT) or char >= 0xA1 or char == _MINUS or char == ord("_")):
            return False
        k += 1
    if dots == 0 or k - label < 2:
        return False
    while label < k and chunk[label].flags & LOWER:
        label += 1
    return label == k


@leaf
def _cut_infixes(chunk, first, last):
    """Rule 4: cut around what stands between two parts of characters first..last."""
    k = first + 1
    while k < last:
        length = _infix(chunk, k, first, last)
        if length:
            chunk[k].cut = True
            chunk[k + length].cut = True
            k += length
        else:
            k += 1


@leaf
def _infix(chunk, k, first, last):
    """The length of an infix at character k > first, 0 when there is none."""
    char, flags = chunk[k].char, chunk[k].flags
    if flags & LETTER:
        return 0
    if char == _ELLIPSIS or flags & ICON:
        return 1
    if char == _DOT:
        dots = _dots(chunk, k, last)
        if dots > 1:
            return dots
    before = chunk[k - 1].flags
    after = chunk[k + 1].flags if k + 1 < last else np.uint32(0)
    if char == _DOT:
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    if char == _COMMA:
        return 1 if before & LETTER and after & LETTER else 0
    if before & DIGIT and char in (_PLUS, _MINUS, ord("*"), ord("^")):
        digit_or_minus = after & DIGIT or (k + 1 < last and chunk[k + 1].char == _MINUS)
        if digit_or_minus:
            return 1
    if not before & (LETTER | DIGIT):
        return 0
    if after & LETTER and (
        flags & HYPHEN or char in (ord(":"), ord("<"), ord(">"), ord("="), ord("/"))
    ):
        return 1
    return _double_dash(chunk, k, last)


@leaf
def _double_dash(chunk, k, last):
    """The length of `--`, `---` or two em dashes before a letter."""
    length = 0
    while k + length < last and chunk[k + length].char == chunk[k].char and length < 4:
        length += 1
    if k + length >= last or not chunk[k + length].flags & LETTER:
        return 0
    if chunk[k].char == _MINUS:
        return length if 2 <= length <= 3 else 0
    return length if chunk[k].char == _EM_DASH and length == 2 else 0
