"""Character classes against this Python's, where its Unicode is that of the shipped table."""

from __future__ import annotations

import unicodedata

import numba
import numpy as np
import numpy.typing as npt
import pytest

from filters import unicode
from filters.utf8 import flags_at, is_alnum

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
