"""Derived signals: one float64 division of stored counts, made when a rule is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Column = Callable[[str], npt.NDArray]


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

    def above(self, column: Column) -> npt.NDArray:
        """The numerator, from the columns that `column` returns by name."""
        numbers = column(self.numerator)
        return numbers + column(self.plus) if self.plus else numbers

    def below(self, column: Column) -> npt.NDArray:
        """The denominator, in which 0 still counts as 0."""
        numbers = column(self.denominator)
        return numbers - column(self.less) if self.less else numbers

    def value(self, column: Column) -> npt.NDArray[np.float64]:
        """float64 per row."""
        return self.above(column) / np.maximum(self.below(column), 1)
