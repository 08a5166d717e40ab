"""What lies in a row of a model's input or output."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One of the file's own tensors, as it lies in a row."""

    name: str
    #: For one row; a batch dimension is 1.
    shape: tuple[int, ...]
    #: As numpy names it: float32, float64, int64, bool.
    dtype: str

    @property
    def is_float(self) -> bool:
        """Any floating-point type; in the graph it is float32."""
        return "float" in self.dtype

    @property
    def length(self) -> int:
        """Number of elements in a row."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Range:
    """The real values that an input element may have."""

    low: float
    high: float
