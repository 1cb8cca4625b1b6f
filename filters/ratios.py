"""Derived signals: one float64 division of stored counts, made when a rule is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Ratio:
    """(numerator + plus) / (denominator - less), names of stored columns.

    A denominator of 0 counts as 1.
    Published code divides by zero only for text without words or lines, which other rules of the
    same recipes drop first; a numerator is 0 there in all but blank text.
    """

    name: str
    numerator: str
    denominator: str
    less: str = ""
    plus: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The stored columns it is made of."""
        return tuple(filter(None, (self.numerator, self.denominator, self.less, self.plus)))

    def value(self, column: Callable[[str], npt.NDArray]) -> npt.NDArray[np.float64]:
        """float64 per row, from the columns that `column` returns by name."""
        below = column(self.denominator)
        if self.less:
            below = below - column(self.less)
        above = column(self.numerator)
        if self.plus:
            above = above + column(self.plus)
        return above / np.maximum(below, 1)
