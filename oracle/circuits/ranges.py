"""Which inputs a circuit promises to take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from oracle.circuits.row import Range, TensorInfo

Floats = npt.NDArray[np.float64]

#: A promised range exceeds the samples' range by this share of it, on both sides.
_MARGIN = 0.25


def promised(samples: Floats, inputs: Sequence[TensorInfo] = ()) -> Range:
    """The range for samples, float [n, inputs]: one for all elements of a row.

    Where all of a row are whole numbers or bits, no more than the samples have: what lies beyond
    may be no category, no position of a table, or no number of the type.
    """
    if inputs and all(info.dtype == "bool" for info in inputs):
        return Range(0.0, 1.0)
    low, high = float(samples.min()), float(samples.max())
    if inputs and not any(info.is_float for info in inputs):
        return Range(low, high)
    margin = _MARGIN * (high - low)
    return Range(low - margin, high + margin)


def each_feature(samples: Floats) -> tuple[Range, ...]:
    """The range of each feature of samples, float [n, inputs], by itself; bounds are float32."""
    low, high = samples.min(axis=0), samples.max(axis=0)
    margin = _MARGIN * (high - low)
    bounds = np.stack([low - margin, high + margin], axis=1).astype(np.float32)
    return tuple(Range(*feature) for feature in bounds.tolist())
