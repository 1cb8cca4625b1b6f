"""UTF-8 inside kernels: decoding, character classes, white space at the ends."""

from __future__ import annotations

import numpy as np

from filters.kernels import inlined, leaf
from filters.unicode import ALPHA, DECIMAL, NUM_CODE_POINTS, SPACE, load, other_numbers

_BLOCKS, _CLASSES, _FLAGS = load()
_OTHER_NUMBERS = other_numbers()
REPLACEMENT = 0xFFFD
_RETURN = 0x0D


@inlined
def flags_at(code_point):
    """The flags of a code point below 0x110000, from the table as it was when compiled."""
    return _FLAGS[_CLASSES[np.int64(_BLOCKS[code_point >> 7]) << 7 | code_point & 127]]


@leaf
def is_alnum(code_point):
    """str.isalnum of a code point below 0x110000."""
    if flags_at(code_point) & (ALPHA | DECIMAL):
        return True
    below, above = 0, _OTHER_NUMBERS.size
    while below < above:  # how many edges of ranges are at or below it
        middle = (below + above) >> 1
        if _OTHER_NUMBERS[middle] <= code_point:
            below = middle + 1
        else:
            above = middle
    return below & 1 == 1


@leaf
def decode(data, i, stop):
    """The code point at byte i and the byte after it. Never reads at or beyond `stop`.

    Arrow text is valid UTF-8; for anything else the answer is U+FFFD and the next byte.
    """
    lead = np.int64(data[i])
    if lead < 0x80:
        return lead, i + 1
    if 0xC0 <= lead < 0xE0:
        extra, code_point = 1, lead & 0x1F
    elif 0xE0 <= lead < 0xF0:
        extra, code_point = 2, lead & 0x0F
    elif 0xF0 <= lead < 0xF8:
        extra, code_point = 3, lead & 0x07
    else:
        return np.int64(REPLACEMENT), i + 1
    if i + extra >= stop:
        return np.int64(REPLACEMENT), i + 1
    for k in range(1, extra + 1):
        code_point = code_point << 6 | np.int64(data[i + k]) & 0x3F
    if code_point >= NUM_CODE_POINTS:
        return np.int64(REPLACEMENT), i + 1
    return code_point, i + 1 + extra


@inlined
def decode_three(data, i, stop):
    """`decode`, with a short way for characters of three bytes: most of those without case."""
    at = np.uint64(i)
    if data[at] & 0xF0 != 0xE0 or i + 2 >= stop:
        return decode(data, i, stop)
    second = np.int64(data[at + np.uint64(1)]) & 0x3F
    third = np.int64(data[at + np.uint64(2)]) & 0x3F
    return (np.int64(data[at]) & 0x0F) << 12 | second << 6 | third, i + 3


@inlined
def decode_short(data, i, stop):
    """`decode`, with short ways for characters of up to three bytes."""
    at = np.uint64(i)
    lead = np.int64(data[at])
    if lead < 0x80:
        return lead, i + 1
    if lead & 0xE0 == 0xC0 and i + 1 < stop:
        return (lead & 0x1F) << 6 | np.int64(data[at + np.uint64(1)]) & 0x3F, i + 2
    return decode_three(data, i, stop)


@leaf
def previous(data, i, start):
    """The first byte of the character that ends before byte i, for i > start."""
    i -= 1
    while i > start and data[i] & 0xC0 == 0x80:
        i -= 1
    return i


@inlined
def strip(data, start, stop):
    """The byte range of str.strip() of data[start:stop]; an empty one when nothing is left."""
    if start < stop and data[stop - 1] == _RETURN:  # most white space at the ends of lines
        stop -= 1
    if start < stop and _is_visible(data[start]) and _is_visible(data[stop - 1]):
        return start, stop
    return _strip(data, start, stop)


@inlined
def _is_visible(byte):
    """Whether a byte is an ASCII character other than a space or control character."""
    return np.uint8(byte - 0x21) < 0x5F


@leaf
def _strip(data, start, stop):
    while start < stop:
        code_point, after = decode(data, start, stop)
        if not flags_at(code_point) & SPACE:
            break
        start = after
    while start < stop:
        last = previous(data, stop, start)
        code_point, _ = decode(data, last, stop)
        if not flags_at(code_point) & SPACE:
            break
        stop = last
    return start, stop
