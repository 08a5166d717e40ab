"""Scalers, encoders and the plumbing of features and labels."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from oracle.circuits.lowering import scores
from oracle.circuits.lowering.graph import ML, Graph, Node, Rules, float32s, int64s

_TEXT = "works on text"
_NUMBERS = "Export with numbers instead of text"


def _scaler(graph: Graph, node: Node) -> list[str]:
    x = scores.float_input(graph, node)
    offset = node.floats("offset").astype(np.float32)
    scale = node.floats("scale").astype(np.float32)
    if offset.any():
        x = graph.add("Sub", x, offset)
    if (scale != 1).any():
        x = graph.add("Mul", x, scale)
    return [x]


def _normalizer(graph: Graph, node: Node) -> list[str]:
    """Rows divided by their norm; a row of zeros stays zero."""
    x = scores.float_input(graph, node)
    kind = node.attribute("norm", "MAX")
    made = graph.maker(x)
    softmax = (
        made is not None and made.key[1] == "Softmax" and made.attribute("axis", -1) in (1, -1)
    )
    if kind == "L1" and softmax:
        # Its rows have a sum of one already.
        return [x]
    if kind == "MAX":
        norm = graph.reduce("ReduceMax", x, [1])
    elif kind not in ("L1", "L2"):
        raise node.refuse(f"has no norm {kind}", "Use L1, L2 or MAX")
    else:
        size = graph.add("Abs", x) if kind == "L1" else graph.add("Mul", x, x)
        norm = graph.reduce("ReduceSum", size, [1])
        if kind == "L2":
            norm = graph.add("Sqrt", norm)
    return [graph.add("Div", x, norm)]


def _imputer(graph: Graph, node: Node) -> list[str]:
    """Fixed point has no NaN or infinity: only another stand-in for missing values is looked for."""
    if len(node.attribute("imputed_value_int64s", ())):
        values = int64s(node.attribute("imputed_value_int64s"))
        missing = int64s([node.attribute("replaced_value_int64", 0)])
    else:
        values = node.floats("imputed_value_floats").astype(np.float32)
        missing = float32s([node.attribute("replaced_value_float", 0.0)])
        if not np.isfinite(missing).all():
            return [node.input(0)]
    x = node.input(0)
    return [graph.add("Where", graph.add("Equal", x, missing), values, x)]


def _binarizer(graph: Graph, node: Node) -> list[str]:
    bound = float32s([node.attribute("threshold", 0.0)])
    above = graph.add("Greater", scores.float_input(graph, node), bound)
    return [graph.add("Cast", above, to=TensorProto.FLOAT)]


def _label_encoder(graph: Graph, node: Node) -> list[str]:
    """A table from numbers to numbers; names of classes become their position."""
    keys = node.attribute("keys_int64s") or node.attribute("keys_floats")
    if keys is None:
        keys = node.attribute("keys_tensor")
    if keys is None or node.attribute("keys_strings"):
        raise node.refuse(_TEXT, _NUMBERS)
    keys = np.asarray(keys, dtype=_dtype(graph, node))
    if node.attribute("values_strings"):
        values, default = np.arange(len(keys)), np.float64(-1)
        to = TensorProto.INT64
    else:
        found = node.attribute("values_int64s")
        to = TensorProto.INT64 if found else TensorProto.FLOAT
        default = np.float64(
            node.attribute("default_int64", -1) if found else node.attribute("default_float", 0.0)
        )
        values = np.asarray(found or node.attribute("values_floats", ()), dtype=np.float64)
        if node.attribute("values_tensor") is not None:
            values = np.asarray(node.attribute("values_tensor"))
            to = TensorProto.INT64 if values.dtype == np.int64 else TensorProto.FLOAT
            default = np.float64(np.asarray(node.attribute("default_tensor", [0])).ravel()[0])
    if values.shape != keys.shape or values.dtype.kind not in "fi":
        raise node.refuse(_TEXT, _NUMBERS)
    hits = scores.one_hot(graph, node.input(0), keys)
    shifted = (values - default).astype(np.float32)[:, np.newaxis]
    chosen = graph.add("Squeeze", graph.add("MatMul", hits, shifted), int64s([-1]))
    result = graph.add("Add", chosen, float32s([float(default)])) if default else chosen
    return [graph.add("Cast", result, to=to) if to != TensorProto.FLOAT else result]


def _one_hot_encoder(graph: Graph, node: Node) -> list[str]:
    """Unknown categories give zeros."""
    categories = node.attribute("cats_int64s", ())
    if not categories:
        raise node.refuse(_TEXT, _NUMBERS)
    return [scores.one_hot(graph, node.input(0), np.asarray(categories, dtype=_dtype(graph, node)))]


def _dtype(graph: Graph, node: Node) -> np.dtype[np.float32] | np.dtype[np.int64]:
    """Type of what the node compares."""
    if graph.element_type(node.input(0)) == TensorProto.INT64:
        return np.dtype(np.int64)
    return np.dtype(np.float32)


def _array_feature_extractor(graph: Graph, node: Node) -> list[str]:
    table, indices = graph.constant(node.input(0)), graph.constant(node.input(1))
    if indices is not None:
        return [graph.add("Gather", node.input(0), indices.ravel().astype(np.int64), axis=-1)]
    if table is None or table.ndim != 1:
        raise node.refuse("picks columns that depend on the input")
    flat = graph.add("Reshape", node.input(1), int64s([1, -1]))
    if table.dtype.kind == "i":
        return [scores.select(graph, flat, table.astype(np.int64))]
    if table.dtype.kind in "OUS":
        # Class names: the position stands for the name.
        return [flat]
    raise node.refuse("picks numbers at positions that depend on the input")


def _feature_vectorizer(graph: Graph, node: Node) -> list[str]:
    parts = [scores.float_input(graph, node, i) for i in range(len(node.inputs))]
    return [scores.columns(graph, *parts) if len(parts) > 1 else parts[0]]


def _zip_map(graph: Graph, node: Node) -> list[str]:
    """A dictionary for each row becomes the row of its values."""
    del graph
    return [node.input(0)]


RULES: Rules = {
    (ML, "ArrayFeatureExtractor"): _array_feature_extractor,
    (ML, "Binarizer"): _binarizer,
    (ML, "FeatureVectorizer"): _feature_vectorizer,
    (ML, "Imputer"): _imputer,
    (ML, "LabelEncoder"): _label_encoder,
    (ML, "Normalizer"): _normalizer,
    (ML, "OneHotEncoder"): _one_hot_encoder,
    (ML, "Scaler"): _scaler,
    (ML, "ZipMap"): _zip_map,
}
