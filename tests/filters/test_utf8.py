"""Character classes against this Python's, where its Unicode is that of the shipped table."""

from __future__ import annotations

import unicodedata

import numba
import numpy as np
import numpy.typing as npt
import pytest

from filters import unicode
from filters.utf8 import decode, decode_short, decode_three, flags_at, is_alnum

pytestmark = pytest.mark.skipif(
    unicodedata.unidata_version != unicode.UNICODE_VERSION,
    reason=f"the table is that of Unicode {unicode.UNICODE_VERSION}",
)


@numba.njit
def classes(num_code_points: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint32]]:
    alnum = np.empty(num_code_points, np.bool_)
    flags = np.empty(num_code_points, np.uint32)
    for code_point in range(num_code_points):
        alnum[code_point] = is_alnum(code_point)
        flags[code_point] = flags_at(code_point)
    return alnum, flags


@numba.njit
def decoded_places(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """What each decoder finds at each place, and the one after it: int64[bytes, decoders, 2]."""
    found = np.empty((data.size, 3, 2), np.int64)
    for i in range(data.size):
        found[i, 0] = decode(data, i, data.size)
        found[i, 1] = decode_short(data, i, data.size)
        found[i, 2] = decode_three(data, i, data.size)
    return found


def test_every_code_point_is_decoded_the_long_way_and_the_short_ones() -> None:
    text = "".join(chr(n) for n in range(0x110000) if not 0xD800 <= n < 0xE000)
    data = np.frombuffer(text.encode(), np.uint8)
    starts = np.flatnonzero(data & 0xC0 != 0x80)
    found = decoded_places(data)[starts]
    expected = np.array([ord(char) for char in text])
    assert (found[:, :, 0] == expected[:, None]).all()
    assert (found[:, :, 1] == np.append(starts[1:], data.size)[:, None]).all()


def test_a_character_cut_off_is_decoded_the_same_way() -> None:
    for text in ("\xe9", "\u20ac", "\U0001f600"):
        for size in range(1, len(text.encode())):
            [first, *others] = decoded_places(np.frombuffer(text.encode()[:size], np.uint8))[0]
            assert all((first == other).all() for other in others)


def test_every_code_point_has_pythons_classes() -> None:
    alnum, flags = classes(unicode.NUM_CODE_POINTS)
    chars = list(map(chr, range(unicode.NUM_CODE_POINTS)))
    assert (alnum == [char.isalnum() for char in chars]).all()
    for flag, holds in (
        (unicode.CAPITAL, str.isupper),
        (unicode.NUMERAL, str.isdigit),
        (unicode.DECIMAL, str.isdecimal),
        (unicode.ALPHA, str.isalpha),
        (unicode.SPACE, str.isspace),
    ):
        assert (((flags & flag) != 0) == [holds(char) for char in chars]).all()
