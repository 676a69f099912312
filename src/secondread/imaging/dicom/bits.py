"""Which bits of its cell hold a pixel's value, and the numbers in them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secondread.errors import ImageRejected

_Cells = NDArray[Any]  # integers of 8 or 16 bits


@dataclass(frozen=True)
class Bits:
    """Where a value lies in its cell, and whether it may be negative.

    Args:
        allocated: Bits Allocated (0028,0100), of the whole cell: 8 or 16.
        stored: Bits Stored (0028,0101), of the value.
        high: High Bit (0028,0102), the value's highest; None where the file does not say. Today's DICOM allows
            `stored - 1` alone, older files also hold values at the cell's upper end.
        representation: Pixel Representation (0028,0103): 1 where the highest bit is a sign, else 0.
    Raises:
        ImageRejected: `bits`, where no such value fits the cell.
    Source: DICOM PS3.5 8.1.1; PS3.5-1993 8.1.1 for another High Bit.
    """

    allocated: int
    stored: int
    high: int | None
    representation: int

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.allocated not in (8, 16):
            raise ImageRejected("bits", "only integer pixels of 8 or 16 bits are read")
        numbers = (self.stored, self.representation, 0 if self.high is None else self.high)
        if not all(isinstance(number, int) for number in numbers) or self.representation not in (0, 1):
            raise ImageRejected("bits", "Bits Stored (0028,0101) or Pixel Representation (0028,0103) is no such number")
        if not 1 <= self.stored <= self._high + 1 <= self.allocated:
            raise ImageRejected("bits", "Bits Stored (0028,0101) and High Bit (0028,0102) do not fit Bits Allocated")

    @property
    def is_signed(self) -> bool:
        """Whether values may be negative."""
        return self.representation == 1

    @property
    def kind(self) -> str:
        """Of a cell, as numpy writes it without its byte order: `i2`, `u2`, `i1` or `u1`."""
        return f"{'i' if self.is_signed else 'u'}{self.allocated // 8}"

    def holds(self, value: int) -> bool:
        """Whether a value can be stored."""
        lowest: int = -(2 ** (self.stored - 1)) if self.is_signed else 0
        return lowest <= value < lowest + (1 << self.stored)

    def values(self, cells: _Cells) -> _Cells:
        """Drop what stands in the other bits of each cell, and let the highest one be the sign where there is one.

        Args:
            cells: of type `kind`.
        """
        if self.stored == self.allocated:
            return cells
        left, right = self.allocated - 1 - self._high, self.allocated - self.stored
        return np.right_shift(np.left_shift(cells, left), right)

    @property
    def _high(self) -> int:
        return self.stored - 1 if self.high is None else self.high


@dataclass(frozen=True)
class Stored:
    """Pixels as a file holds them.

    Args:
        cells: shape (rows, columns), read-only perhaps.
        bits: which of each cell are the value's; of pixels that a codec gave, all.
    """

    cells: _Cells
    bits: Bits

    @cached_property
    def values(self) -> _Cells:
        """The numbers, shape (rows, columns)."""
        return self.bits.values(self.cells)
