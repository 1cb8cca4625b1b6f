"""Where personal data or a secret may stand: candidates, found eight bytes at a time.

Nearly everything that pii.py looks for holds a digit or an `@`; only those are stopped at. Around
each, a few necessary conditions are checked on the bytes (how many digits, how many colons), and
what passes is a candidate: a few bytes of text, at most 4,096 of a token, for the exact checks in
pii_checks.py. Work is linear: from each `@` or digit a bounded number of bytes is looked at, and a
run of digits or of token characters once. On prose the scan reads 2 to 3 GB/s.

    EMAIL    around an `@`: local part and domain
    TOKEN    20 or more of A-Za-z0-9_-./+= with a digit among the first 64: a key or a token
    IPV4     d.d.d.d with one to three digits each
    IPV6     hexadecimal digits and colons: seven of these, or two together
    NUMBER   7 to 19 digits with separators, or a `+` before them: a phone or a card
    IBAN     two capitals, two digits, at least eleven more capitals or digits
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters import bits
from filters.bits import bytes_equal_to, load_word, lowest_byte
from filters.kernels import inlined, leaf, sources_digest

EMAIL, TOKEN, IPV4, IPV6, NUMBER, IBAN = range(6)

_MAX_LOCAL, _MAX_DOMAIN = 64, 255
_MIN_TOKEN, _MAX_TOKEN = 20, 4096
_MAX_IPV6 = 45
_MAX_IBAN = 44  # 34 characters in groups of four
_MIN_DIGITS, _MAX_DIGITS = 7, 19

_ROOM = 8  # at most five candidates at one place

_ONES = np.uint64(0x0101010101010101)
_HIGH_BITS = _ONES * np.uint64(0x80)
_LOW_BITS = _ONES * np.uint64(0x7F)
_ABOVE_NINE = _ONES * np.uint64(0x7F - 0x09)
_ZEROS = _ONES * np.uint64(0x30)


_DIGITS = "0123456789"
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALNUM = _DIGITS + _CAPITALS + _CAPITALS.lower()
_SETS = (
    _DIGITS,
    _CAPITALS,
    _ALNUM,
    _ALNUM + "._%+-'",
    _ALNUM + ".-",
    _ALNUM + "._-",
    _ALNUM + "_-./+=",
    "0123456789abcdefABCDEF:.",
    _DIGITS + _CAPITALS + " ",
    " .-()/",
    "(+",
)
(
    _IS_DIGIT,
    _IS_CAPITAL,
    _IS_ALNUM,
    _IS_LOCAL,
    _IS_DOMAIN,
    _IS_NAME,
    _IS_TOKEN,
    _IS_IPV6,
    _IS_IBAN,
    _IS_BETWEEN_DIGITS,
    _IS_BEFORE_NUMBER,
) = (1 << bit for bit in range(len(_SETS)))


def _byte_flags() -> npt.NDArray[np.int64]:
    """Of each byte, the sets that it is in."""
    flags = np.zeros(256, np.int64)
    for bit, characters in enumerate(_SETS):
        flags[list(characters.encode())] |= 1 << bit
    return flags


_FLAGS = _byte_flags()


class Candidates(NamedTuple):
    """int64[candidates] each, by row, then in the order found: bytes start to end of the row."""

    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    shapes: npt.NDArray[np.int64]


def scan(offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8]) -> Candidates:
    """The candidates in the texts data[offsets[i]:offsets[i + 1]]; they may overlap."""
    return Candidates(*_scan(offsets, data).T)


class _Found(NamedTuple):
    """used int64[1]: how many rows of values int64[n, 4] are in use."""

    used: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]


@inlined
def _next_stop(data, i, stop):
    """The first `@` or digit from byte i on, or `stop`."""
    while i < stop:
        word = load_word(data, i, stop)
        folded = word ^ _ZEROS
        no_digit = (((folded & _LOW_BITS) + _ABOVE_NINE) | folded) & _HIGH_BITS
        found = (no_digit ^ _HIGH_BITS) | bytes_equal_to(word, ord("@"))
        if found:
            return min(stop, i + lowest_byte(found))
        i += 8
    return stop


@numba.njit(nogil=True)
def _grown(found):
    values = np.empty((2 * found.values.shape[0], 4), np.int64)
    for n in range(found.used[0]):
        for k in range(4):
            values[n, k] = found.values[n, k]
    return _Found(found.used, values)


@leaf
def _left(data, i, start, flag):
    """The first byte of the run of bytes with a flag that ends before byte i."""
    while i > start and _FLAGS[data[i - 1]] & flag:
        i -= 1
    return i


@leaf
def _right(data, i, stop, flag):
    """The end of the run of bytes with a flag that starts at byte i."""
    while i < stop and _FLAGS[data[i]] & flag:
        i += 1
    return i


@leaf
def _push(found, row, base, start, end, shape):
    """One more candidate, for which there is room."""
    n = found.used[0]
    found.values[n, 0] = row
    found.values[n, 1] = start - base
    found.values[n, 2] = end - base
    found.values[n, 3] = shape
    found.used[0] = n + 1


@leaf
def _email(data, at, start, stop, row, found):
    first = _left(data, at, max(start, at - _MAX_LOCAL), _IS_LOCAL)
    end = _right(data, at + 1, min(stop, at + 1 + _MAX_DOMAIN), _IS_DOMAIN)
    if first < at and end > at + 3 and _FLAGS[data[at + 1]] & _IS_ALNUM:
        _push(found, row, start, first, end, EMAIL)


@leaf
def _token(data, i, start, stop, seen, row, found):
    """A token around the digit at byte i; returns up to where tokens have been looked for."""
    if i < seen:
        return seen
    first = _left(data, i, max(start, seen, i - 64), _IS_TOKEN)
    end = _right(data, i, stop, _IS_TOKEN)
    if end - first >= _MIN_TOKEN:
        _push(found, row, start, first, min(end, first + _MAX_TOKEN), TOKEN)
    return end


@leaf
def _ipv6(data, i, start, stop, seen, row, found):
    """An IPv6 address around the digit at byte i; returns up to where has been looked."""
    if i < seen:
        return seen
    first = _left(data, i, max(start, seen, i - _MAX_IPV6), _IS_IPV6)
    end = _right(data, i, stop, _IS_IPV6)
    is_word = (first > start and _FLAGS[data[first - 1]] & _IS_ALNUM) or (
        end < stop and _FLAGS[data[end]] & _IS_ALNUM
    )
    if not is_word and end - first <= _MAX_IPV6 + 1:
        colons = doubled = 0
        for k in range(first, end):
            if data[k] == ord(":"):
                colons += 1
                doubled += k > first and data[k - 1] == ord(":")
        if colons == 7 or (colons >= 2 and doubled == 1):
            _push(found, row, start, first, end, IPV6)
    return end


@leaf
def _ipv4_end(data, i, start, stop):
    """The end of d.d.d.d that starts at byte i and is no part of something longer, or i."""
    if i > start and _FLAGS[data[i - 1]] & _IS_NAME:
        return i
    k = i
    for part in range(4):
        end = _right(data, k, min(stop, k + 4), _IS_DIGIT)
        if end == k or end - k > 3:
            return i
        k = end
        if part < 3:
            if k == stop or data[k] != ord("."):
                return i
            k += 1
    is_longer = k < stop and (
        _FLAGS[data[k]] & _IS_ALNUM
        or (data[k] == ord(".") and k + 1 < stop and _FLAGS[data[k + 1]] & _IS_DIGIT)
    )
    return i if is_longer else k


@leaf
def _iban(data, i, start, stop, row, found):
    """An IBAN of which the first check digit is at byte i."""
    if i - 2 < start or i + 12 > stop or not (_FLAGS[data[i + 1]] & _IS_DIGIT):
        return
    if not (_FLAGS[data[i - 1]] & _IS_CAPITAL and _FLAGS[data[i - 2]] & _IS_CAPITAL):
        return
    if i - 2 > start and _FLAGS[data[i - 3]] & _IS_ALNUM:
        return
    end = _right(data, i, min(stop, i + _MAX_IBAN), _IS_IBAN)
    if end - i >= 12:
        _push(found, row, start, i - 2, end, IBAN)


@leaf
def _number(data, i, start, stop, row, found):
    """A phone or a card of which the first digit is at byte i; returns where to go on.

    A run of more than 19 digits is a table or a list: there a number has separators of one kind.
    """
    end, num_digits = _number_end(data, i, stop, True)
    if num_digits > _MAX_DIGITS:
        end, num_digits = _number_end(data, i, stop, False)
    if num_digits > _MAX_DIGITS:
        return _right(data, i, stop, _IS_DIGIT)
    if num_digits >= _MIN_DIGITS:
        first = i
        while first > start and i - first < 2 and _FLAGS[data[first - 1]] & _IS_BEFORE_NUMBER:
            first -= 1
        _push(found, row, start, first, end, NUMBER)
    return end


@leaf
def _number_end(data, i, stop, mixed):
    """The end of the number that starts at byte i, and its digits, or more than 19.

    With mixed separators these are at most two in a row, otherwise one of the same kind each.
    """
    num_digits = num_between = 0
    between = np.uint8(0)
    end = i
    while i < stop and num_digits <= _MAX_DIGITS:
        byte = data[i]
        i += 1
        if _FLAGS[byte] & _IS_DIGIT:
            num_digits += 1
            num_between = 0
            end = i
            continue
        num_between += 1
        if not (_FLAGS[byte] & _IS_BETWEEN_DIGITS) or num_between > 1 + mixed:
            break
        if not mixed and between != 0 and byte != between:
            break
        between = byte
    return end, num_digits


@leaf
def _scan_text(data, i, start, stop, seen, row, found):
    """Candidates from byte i on, as long as there is room; returns where to go on.

    seen int64[3]: up to where tokens, IPv6 addresses and numbers have been looked for.
    """
    room = found.values.shape[0] - _ROOM
    while i < stop and found.used[0] < room:
        i = _next_stop(data, i, stop)
        if i == stop:
            break
        if data[i] == ord("@"):
            _email(data, i, start, stop, row, found)
            i += 1
            continue
        seen[0] = _token(data, i, start, stop, seen[0], row, found)
        seen[1] = _ipv6(data, i, start, stop, seen[1], row, found)
        _iban(data, i, start, stop, row, found)
        end = _ipv4_end(data, i, start, stop)
        if end > i:
            _push(found, row, start, i, end, IPV4)
        if i >= seen[2]:
            seen[2] = _number(data, i, start, stop, row, found)
        i = _right(data, i, stop, _IS_DIGIT)
    return i


def _compile(sources: str):
    @numba.njit(cache=True, nogil=True)
    def scan_texts(offsets, data):
        """int64[candidates, 4]: row, start, end, shape."""
        _ = sources  # part of the cache's key
        found = _Found(np.zeros(1, np.int64), np.empty((1024, 4), np.int64))
        seen = np.empty(3, np.int64)
        for row in range(offsets.size - 1):
            start, stop = offsets[row], offsets[row + 1]
            i = start
            for k in range(seen.size):
                seen[k] = start
            while i < stop:
                if found.used[0] >= found.values.shape[0] - _ROOM:
                    found = _grown(found)
                i = _scan_text(data, i, start, stop, seen, row, found)
        return found.values[: found.used[0]]

    return scan_texts


_scan = _compile(sources_digest(bits))
