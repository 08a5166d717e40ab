"""Why a rewritten model computes what is no number where the publisher's file answers with one.

The file's own operators give a number all the same: an imputer replaces what is none, a normalizer
leaves a row of zeros alone, a classifier stays finite where sums of exponentials do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from oracle.circuits.lowering.graph import ML
from oracle.errors import ModelUnsupported, ProverError
from oracle.prover.sandbox import Sandbox

Floats = npt.NDArray[np.float64]
#: Answers of a file, by its outputs' names.
Ask = Callable[[Path, Sequence[str]], Floats]
#: Least and greatest of a tensor; infinite where one of its numbers is none.
_Range = tuple[float, float]

_EVERYTHING = (-math.inf, math.inf)


def explained(
    data: bytes,
    input_name: str,
    row: Floats,
    index: int,
    original: Path,
    ask: Ask,
    sandbox: Sandbox,
) -> ModelUnsupported:
    """The refusal of a model for a sample, with what makes it no number.

    Args:
        data: the rewritten model.
        input_name: its input.
        row: the sample.
        index: which it is.
        original: the publisher's file; beside it is room for another.
        ask: what a variant of that file answers to the sample.
        sandbox: runs the rewritten model.
    """
    if _is_imputed(original, ask):
        return ModelUnsupported(
            f"for sample {index} it computes what is no number and an imputer hides it",
            remedy="Leave out imputers after powers and logarithms; of scikit-learn's "
            "PowerTransformer use method='box-cox'",
        )
    rewritten = original.with_name("rewritten.onnx")
    rewritten.write_bytes(data)
    asked = {"model": str(rewritten), "input": input_name, "rows": [row.tolist()]}
    found = sandbox.run("magnitudes", asked)["tensors"]
    ranges = {name: (float(low), float(high)) for name, (low, high, _) in found.items()}
    what = _first(onnx.load_model_from_string(data).graph, ranges)
    size = np.abs(row).max(initial=0.0)
    return ModelUnsupported(
        f"for sample {index}, whose greatest number is {size:.3g} in size, the rewritten model {what}, "
        "where the file itself gives a number",
        remedy="Leave such rows out of the samples, or give them in the size that the model was "
        "trained on",
    )


def _is_imputed(original: Path, ask: Ask) -> bool:
    """Whether what an imputer of the file is given is no number."""
    proto = onnx.load(original, load_external_data=False)
    # The samples themselves are numbers.
    given = {value.name for value in proto.graph.input}
    imputers = (n for n in proto.graph.node if (n.domain, n.op_type) == (ML, "Imputer"))
    names = sorted({node.input[0] for node in imputers} - given)
    if not names:
        return False
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    path = original.with_name("imputed.onnx")
    path.write_bytes(proto.SerializeToString())
    try:
        return bool(np.isnan(ask(path, names)).any())
    except ProverError:
        # Cut there, the file does not run.
        return False


def _first(graph: onnx.GraphProto, ranges: Mapping[str, _Range]) -> str:
    """What the first operator does that makes no number of numbers."""
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    known = dict(ranges)
    for name, values in constants.items():
        if values.dtype.kind == "f" and values.size:
            known[name] = (float(values.min()), float(values.max()))
    for node in graph.node:
        taken = [known[name] for name in node.input if name in known]
        given = [known[name] for name in node.output if name in known]
        if all(map(_is_finite, taken)) and not all(map(_is_finite, given)):
            if _divides_by_zero(node, known):
                return f"divides by zero (operator {node.op_type})"
            return f"makes no finite number (operator {node.op_type})"
    return "leaves the range of float32"


def _is_finite(bounds: _Range) -> bool:
    return all(map(math.isfinite, bounds))


def _divides_by_zero(node: onnx.NodeProto, known: Mapping[str, _Range]) -> bool:
    if node.op_type not in ("Div", "Reciprocal"):
        return False
    low, high = known.get(node.input[-1], _EVERYTHING)
    return low <= 0 <= high
