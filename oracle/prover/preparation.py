"""Verbs that read a model file as it arrives: the prover's child runs them (see `worker`).

What no input decides is computed here, before anything is refused for its name: exporters leave whole
chains of such nodes, for shapes, masks and dequantized weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]

_CORE = ("", "ai.onnx")
#: Domain of onnxruntime's own operators.
_CONTRIB = "com.microsoft"
#: A constant may become this large (numbers), or as large as what it is made of.
_MOST_FOLDED = 1 << 16
#: Of larger graphs nothing is folded: they are refused for their size.
_MOST_NODES = 20_000
_TYPES = ("to", "dtype")
_RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)


def external_data(params: JsonObject) -> JsonObject:
    """``{locations}``: the files, beside ``model``, that hold its tensors."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo

    proto = onnx.load_model_from_string(Path(params["model"]).read_bytes())
    found = {
        ExternalDataInfo(tensor).location
        for tensor in _tensors(proto.graph)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    return {"locations": sorted(found)}


def prepare_model(params: JsonObject) -> JsonObject:
    """Check, fold constants, inline functions, convert the opset, fix dimensions, infer shapes.

    ``{valid, reason}``: not valid by ONNX's own checker and why; valid but not prepared and why; or
    no reason, and the file ``prepared`` is written. A valid one is in ``folded``, as it was given but
    for what no input decides; tensors of other files beside it, where ``external`` says that there
    are some, are put into ``model`` itself, and so are bfloat16's numbers as float32. Free first dimensions become 1, named ones what ``dims``
    says; other free dimensions stay.
    """
    import onnx
    from onnx import shape_inference

    path = Path(params["model"])
    try:
        if params["external"]:
            onnx.checker.check_model(str(path), full_check=True)
            proto = onnx.load(str(path))
            for tensor in _tensors(proto.graph):
                tensor.ClearField("data_location")
            path.write_bytes(proto.SerializeToString(deterministic=True))
        else:
            data = path.read_bytes()
            onnx.checker.check_model(data, full_check=True)
            proto = onnx.load_model_from_string(data)
        if has_bfloat16(proto):
            widen(proto)
            path.write_bytes(proto.SerializeToString(deterministic=True))
    except Exception as error:  # noqa: BLE001 - hostile bytes raise many types
        return {"valid": False, "reason": str(error)}
    try:
        _fold(proto)
        _expand_contrib(proto.graph)
        Path(params["folded"]).write_bytes(proto.SerializeToString(deterministic=True))
        proto = _inlined(proto, params["opsets"][1])
        _fold(proto)
        # What came with opset 18. Initializers that are no inputs, which the converter makes, need
        # version 4; runtimes refuse versions newer than themselves.
        proto.ir_version = 8
        weights = {tensor.name for tensor in proto.graph.initializer}
        inputs = [value for value in proto.graph.input if value.name not in weights]
        del proto.graph.input[:]
        proto.graph.input.extend(inputs)
        proto = _at_opset(proto, *params["opsets"])
        _fix_dimensions(proto.graph, params["dims"])
        proto = shape_inference.infer_shapes(proto, data_prop=True)
    except Exception as error:  # noqa: BLE001 - native code that hostile bytes reach
        return {"valid": True, "reason": str(error) or type(error).__name__}
    Path(params["prepared"]).write_bytes(proto.SerializeToString(deterministic=True))
    return {"valid": True, "reason": ""}


def infer_shapes(params: JsonObject) -> JsonObject:
    """Add the shapes of inner tensors to the file ``model``."""
    import onnx

    proto = onnx.load_model_from_string(Path(params["model"]).read_bytes())
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    Path(params["model"]).write_bytes(proto.SerializeToString(deterministic=True))
    return {}


def has_bfloat16(proto: Any) -> bool:
    """Whether `widen` changes a model."""
    from onnx import TensorProto

    kind = TensorProto.BFLOAT16
    return any(
        any(tensor.data_type == kind for tensor in _own_tensors(graph))
        or any(value.type.tensor_type.elem_type == kind for value in _values(graph))
        or any(attribute.i == kind for attribute in _types(graph))
        for graph in _graphs(proto.graph)
    )


def widen(proto: Any) -> None:
    """Write bfloat16 as float32, which holds all its numbers.

    No circuit rounds to eight bits as that type does, and onnxruntime has few kernels for it.
    """
    import numpy as np
    from onnx import TensorProto, numpy_helper

    for graph in _graphs(proto.graph):
        for tensor in _own_tensors(graph):
            if tensor.data_type == TensorProto.BFLOAT16:
                values = numpy_helper.to_array(tensor).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        for value in _values(graph):
            if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        for attribute in _types(graph):
            if attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT


def _values(graph: Any) -> Iterator[Any]:
    yield from (*graph.input, *graph.output, *graph.value_info)


def _types(graph: Any) -> Iterator[Any]:
    """Attributes that name an element type."""
    for node in graph.node:
        yield from (attribute for attribute in node.attribute if attribute.name in _TYPES)


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those within it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for nested in (attribute.g, *attribute.graphs):
                yield from _graphs(nested)


def _own_tensors(graph: Any) -> Iterator[Any]:
    """Constants of a graph, without those of graphs within it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def _tensors(graph: Any) -> Iterator[Any]:
    """Every dense constant, those of nested graphs too."""
    for each in _graphs(graph):
        yield from _own_tensors(each)


# --- what no input decides ------------------------------------------------------------------------


def _fold(proto: Any) -> None:
    """Put the values of constant nodes in their place, and the branch that a constant chooses."""
    while len(proto.graph.node) <= _MOST_NODES:
        values = _fold_nodes(proto)
        if not _choose_branches(proto.graph, values):
            return


def _fold_nodes(proto: Any) -> dict[str, Any]:
    """Replace each node that no input decides by its value; the values of all constants by name."""
    from onnx import numpy_helper

    graph = proto.graph
    # One that is an input as well, as files of before opset 9 list them, is a constant here too.
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        found = _value(proto, node, values)
        if found is None:
            kept.append(node)
            continue
        for name, value in found.items():
            values[name] = value
            if node.op_type != "Constant":
                graph.initializer.append(numpy_helper.from_array(value, name))
        if node.op_type == "Constant":
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    return values


def _value(proto: Any, node: Any, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a node's outputs are, if no input decides them and they are not too large."""
    names = [name for name in node.input if name]
    if node.domain not in _CORE or node.op_type in _RANDOM:
        return None
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
        return None
    # What has no input is a constant, or random.
    is_known = node.op_type == "Constant" if not names else all(name in values for name in names)
    return _computed(proto, node, {name: values[name] for name in names}) if is_known else None


def _computed(proto: Any, node: Any, feeds: Mapping[str, Any]) -> dict[str, Any] | None:
    """What onnxruntime makes of a node or, if it lacks the operator, ONNX's own reference."""
    import numpy as np

    outputs = [name for name in node.output if name]
    for run in (_by_runtime, _by_reference):
        try:
            found = run(_alone(proto, node, feeds, outputs), outputs, dict(feeds))
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S112 - they have no base class for their errors
            continue
        if not all(isinstance(value, np.ndarray | np.generic) for value in found):
            return None
        arrays = [np.asarray(value) for value in found]
        room = max([_MOST_FOLDED, *(feed.size for feed in feeds.values())])
        fits = all(array.size <= room for array in arrays)
        return dict(zip(outputs, arrays, strict=True)) if fits else None
    # It stays a node, and whatever refuses or proves it says so by its name.
    return None


def _by_runtime(model: Any, outputs: list[str], feeds: dict[str, Any]) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return list(session.run(outputs, feeds))


def _by_reference(model: Any, outputs: list[str], feeds: dict[str, Any]) -> list[Any]:
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(model).run(outputs, feeds))


def _alone(proto: Any, node: Any, feeds: Mapping[str, Any], outputs: list[str]) -> Any:
    """The model of one node, of what is fed to it."""
    import onnx
    from onnx import helper

    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in feeds.items()
    ]
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = helper.make_graph([node], "constant", inputs, results)
    model = helper.make_model(graph, opset_imports=proto.opset_import, ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def _choose_branches(graph: Any, values: Mapping[str, Any]) -> bool:
    """Put the branch in the place of each If whose condition is known; whether there was one."""
    nodes, chosen = [], False
    for index, node in enumerate(graph.node):
        if node.op_type != "If" or node.domain not in _CORE or node.input[0] not in values:
            nodes.append(node)
            continue
        wanted = "then_branch" if values[node.input[0]].ravel().all() else "else_branch"
        (branch,) = [attribute.g for attribute in node.attribute if attribute.name == wanted]
        nodes.extend(_spliced(graph, node, branch, f"if{index}_"))
        chosen = True
    del graph.node[:]
    graph.node.extend(nodes)
    return chosen


def _spliced(graph: Any, node: Any, branch: Any, prefix: str) -> list[Any]:
    """The nodes of a branch under names of their own; its results have the names of the node's."""
    from onnx import helper

    made = {name for each in branch.node for name in each.output}
    inner = made | {tensor.name for tensor in branch.initializer}
    names = {name: prefix + name for name in inner if name}
    results = [value.name for value in branch.output]
    passed_on = []
    for result, output in zip(results, node.output, strict=True):
        if result in made and results.count(result) == 1:
            names[result] = output
        else:
            # Something from outside, a constant, or two results in one.
            source = names.get(result, result)
            passed_on.append(helper.make_node("Identity", [source], [output]))
    for tensor in branch.initializer:
        tensor.name = names[tensor.name]
        graph.initializer.append(tensor)
    for each in branch.node:
        _rename(each, names)
    return [*branch.node, *passed_on]


def _rename(node: Any, names: Mapping[str, str]) -> None:
    for listed in (node.input, node.output):
        for position, name in enumerate(listed):
            listed[position] = names.get(name, name)
    for attribute in node.attribute:
        for nested in (attribute.g, *attribute.graphs):
            for each in nested.node:
                _rename(each, names)
            for value in nested.output:
                value.name = names.get(value.name, value.name)


#: A node to be: operator, inputs, output.
_Step = tuple[str, list[str], str]


def _expand_contrib(graph: Any) -> None:
    """Write operators of onnxruntime's own as core operators."""
    from onnx import helper, numpy_helper

    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = []
    for index, node in enumerate(graph.node):
        expanded = None
        if node.domain == _CONTRIB and node.op_type in _EXPANDED:
            expanded = _EXPANDED[node.op_type](node, f"{node.output[0]}_expanded{index}", known)
        if expanded is None:
            nodes.append(node)
            continue
        constants, steps = expanded
        graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in constants.items())
        nodes += [
            helper.make_node(op, inputs, [output], name=output) for op, inputs, output in steps
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _gelu(node: Any, stem: str, _: Mapping[str, Any]) -> tuple[dict[str, Any], list[_Step]]:
    """``x (1 + erf(x / sqrt 2)) / 2``."""
    import numpy as np

    x = node.input[0]
    numbers = {"root": 0.5**0.5, "one": 1.0, "half": 0.5}
    constants = {f"{stem}_{name}": np.float32(value) for name, value in numbers.items()}
    return {name: np.asarray(value) for name, value in constants.items()}, [
        ("Mul", [x, f"{stem}_root"], f"{stem}_scaled"),
        ("Erf", [f"{stem}_scaled"], f"{stem}_erf"),
        ("Add", [f"{stem}_erf", f"{stem}_one"], f"{stem}_raised"),
        ("Mul", [x, f"{stem}_raised"], f"{stem}_doubled"),
        ("Mul", [f"{stem}_doubled", f"{stem}_half"], node.output[0]),
    ]


def _distances(
    node: Any, stem: str, known: Mapping[str, Any]
) -> tuple[dict[str, Any], list[_Step]] | None:
    """Of each row to each row of a constant; None of anything else, which is then refused."""
    import numpy as np

    (metric,) = [a.s.decode() for a in node.attribute if a.name == "metric"] or ["sqeuclidean"]
    others = known.get(node.input[1])
    if others is None or others.ndim != 2 or metric not in ("euclidean", "sqeuclidean"):
        return None
    count, width = others.shape
    constants = {
        f"{stem}_column": np.array([-1, 1, width]),
        f"{stem}_others": others[np.newaxis],
        f"{stem}_ones": np.ones((width, 1), dtype=others.dtype),
        f"{stem}_flat": np.array([-1, count]),
    }
    result = node.output[0]
    squares = f"{stem}_squares" if metric == "euclidean" else result
    steps: list[_Step] = [
        ("Reshape", [node.input[0], f"{stem}_column"], f"{stem}_rows"),
        ("Sub", [f"{stem}_rows", f"{stem}_others"], f"{stem}_apart"),
        ("Mul", [f"{stem}_apart", f"{stem}_apart"], f"{stem}_parts"),
        ("MatMul", [f"{stem}_parts", f"{stem}_ones"], f"{stem}_sums"),
        ("Reshape", [f"{stem}_sums", f"{stem}_flat"], squares),
    ]
    if metric == "euclidean":
        steps.append(("Sqrt", [squares], result))
    return constants, steps


#: By operator, constants and nodes that stand for one.
_EXPANDED = {"CDist": _distances, "Gelu": _gelu}


# --- functions, opsets, dimensions ----------------------------------------------------------------


def _inlined(proto: Any, most: int) -> Any:
    """The model without functions of its own or core operators made of others after ``most``."""
    import onnx
    from onnx import inliner

    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    composed = [
        node
        for node in proto.graph.node
        if node.domain in {"", "ai.onnx"} and not _is_known(node.op_type, most)
    ]
    if not composed:
        return proto
    # The inliner leaves out default attributes and asks for the type of every input.
    for node in composed:
        given = {attribute.name for attribute in node.attribute}
        for name, attribute in onnx.defs.get_schema(node.op_type).attributes.items():
            if name not in given and attribute.default_value.name:
                node.attribute.append(attribute.default_value)
    for tensor in proto.graph.initializer:
        proto.graph.value_info.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    proto = onnx.shape_inference.infer_shapes(proto)
    return inliner.inline_selected_functions(
        proto, sorted({("", node.op_type) for node in composed}), inline_schema_functions=True
    )


def _is_known(operator: str, opset: int) -> bool:
    """Whether the opset has the operator with the meaning that it kept since."""
    import onnx

    try:
        schema = onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return False
    return not schema.deprecated


def _at_opset(proto: Any, least: int, most: int) -> Any:
    """The model with a core opset from ``least`` to ``most``."""
    import onnx
    from onnx import version_converter

    core = [opset for opset in proto.opset_import if opset.domain in {"", "ai.onnx"}]
    if not core or least <= core[0].version <= most:
        return proto
    try:
        return version_converter.convert_version(proto, min(max(core[0].version, least), most))
    except RuntimeError:
        if core[0].version < least:
            raise
    # The converter lacks a step down for many operators that only learned more types, as most did
    # after 18. Whether the older definition fits is checked here, and on samples.
    for opset in core:
        opset.version = most
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _fix_dimensions(graph: Any, dims: Mapping[str, int]) -> None:
    for value in (*graph.input, *graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.WhichOneof("value") == "dim_value":
                continue
            if dim.dim_param in dims:
                dim.dim_value = dims[dim.dim_param]
            elif value in graph.output:
                # Left to shape inference.
                dim.Clear()
            elif axis == 0:
                dim.dim_value = 1
    # Shapes of inner tensors are hints, and name the dimensions that are now fixed.
    del graph.value_info[:]
