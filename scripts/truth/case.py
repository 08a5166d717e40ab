"""A model of the list as its publisher would hand it over, and the bound that it is held to."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper

Floats = npt.NDArray[np.floating[Any]]

#: The bound: this share of the outputs' spread on the samples, and at most so much.
_SHARE = 0.02
_MOST = 0.05
_ML = "ai.onnx.ml"
_LABELS = (TensorProto.STRING, TensorProto.INT64)


@dataclass(frozen=True, slots=True)
class Case:
    """A model, rows for its build, and rows that its build never sees."""

    name: str
    #: What the list has it for: a kind of estimator, a family of operators, a style of exporters.
    kind: str
    #: The publisher's file.
    onnx: bytes
    #: What the build gets, float32 [n, numbers of an input].
    samples: Floats
    #: Rows of the same source, float32 [m, numbers of an input].
    fresh: Floats
    #: Policy, in the notation of `oracle.circuits.reveal`.
    reveal: str = "full"

    @property
    def max_error(self) -> float:
        """The bound that the build is asked for, in units of the scores; no case chooses its own."""
        scores = answers(self.onnx, self.samples)
        return min(_SHARE * float(np.ptp(scores)), _MOST)


def halves(rows: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Every second row for the build, and the others; float32."""
    numbers = np.asarray(rows, dtype=np.float32)
    return numbers[::2], numbers[1::2]


def rng(name: str) -> np.random.Generator:
    """Random numbers of a case's own, the same at every run."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def score_names(model: onnx.ModelProto) -> list[str]:
    """The outputs that a build proves by default: of a classifier the scores without the label."""
    names = [value.name for value in model.graph.output]
    if all(node.domain != _ML for node in model.graph.node):
        return names
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    return [name for name in names if kinds[name] not in _LABELS] or names


def answers(data: bytes, rows: Floats) -> Floats:
    """What onnxruntime makes of ``rows`` [n, numbers of an input], row by row: [n, scores]."""
    model = onnx.load_model_from_string(data)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # What it does not take is told by the exception.
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options)
    names = score_names(model)
    found = []
    for row in rows:
        feeds, start = {}, 0
        for value in model.graph.input:
            tensor = value.type.tensor_type
            shape = [dim.dim_value or 1 for dim in tensor.shape.dim]
            end = start + math.prod(shape)
            kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            feeds[value.name] = row[start:end].reshape(shape).astype(kind)
            start = end
        found.append(np.concatenate([np.ravel(each) for each in session.run(names, feeds)]))
    return np.array(found, dtype=np.float64)
