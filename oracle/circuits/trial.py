"""A circuit without keys: the settings ezkl gives it, and what it computes, unproved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.prover.sandbox import Sandbox
from oracle.tensor import dequantize
from oracle.types import TagLayout

Floats = npt.NDArray[np.float64]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Graph:
    """A model with its tag input, where ezkl may look at it."""

    #: Absolute.
    path: Path
    layout: TagLayout
    sandbox: Sandbox
    #: What ezkl has to be asked for with this model, whatever else is.
    asked: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a circuit computes."""

    #: Integer outputs of each row; None for a row that the circuit cannot take, or that was not
    #: tried after one that it cannot.
    integers: list[list[int] | None]
    #: Least and greatest value that was looked up.
    lookups: tuple[int, int]
    #: Fractional bits of the outputs.
    scale: int

    @property
    def complete(self) -> bool:
        """Whether the circuit takes every row."""
        return None not in self.integers

    def floats(self) -> Floats:
        """Real outputs [n, outputs]. Precondition: `complete`."""
        rows = [
            [dequantize(v, self.scale) for v in row] for row in self.integers if row is not None
        ]
        return np.asarray(rows, dtype=np.float64)


def settings(graph: Graph, run_args: list[Json]) -> list[Json]:
    """``{settings, reason}`` for each of ``run_args``; settings None where ezkl refuses."""
    asked = [each | graph.asked for each in run_args]
    params = {"model": str(graph.path), "run_args": asked}
    found = graph.sandbox.run("settings", params)["candidates"]
    return [
        answer | {"settings": answer["settings"] and normalised(answer["settings"])}
        for answer in found
    ]


def normalised(found: Json) -> Json:
    """Sort what ezkl lists in random order: the order of checks and lookups decides the key."""
    return found | {
        "required_range_checks": sorted(found["required_range_checks"]),
        "required_lookups": sorted(
            found["required_lookups"], key=lambda op: json.dumps(op, sort_keys=True)
        ),
        "timestamp": 0,
    }


def run(graph: Graph, pinned: Json, rows: Floats, *, all_or_none: bool = False) -> Outcome:
    """The circuit of the settings ``pinned`` on ``rows``, float [n, inputs], and a full tag.

    With ``all_or_none`` it ends at the first row, from the last on, that the circuit cannot take.
    """
    return _run(graph, {"settings": pinned, "all_or_none": all_or_none}, "reals", rows.tolist())


def run_integers(graph: Graph, pinned: Json, rows: Sequence[Sequence[int]]) -> Outcome:
    """The circuit of the settings ``pinned`` on rows of fixed-point integers, and a full tag."""
    circuit = {"settings": pinned, "all_or_none": False}
    return _run(graph, circuit, "rows", [list(row) for row in rows])


def sketch(graph: Graph, run_args: Json, rows: Floats) -> Outcome:
    """The circuit that ezkl makes of ``run_args`` on ``rows`` and a full tag, all or none."""
    circuit = {"run_args": run_args | graph.asked, "all_or_none": True}
    return _run(graph, circuit, "reals", rows.tolist())


def _run(graph: Graph, circuit: Json, kind: str, rows: list[list[Any]]) -> Outcome:
    """The circuit on rows that are ``reals``, rounded to its scale, or ``rows`` of integers."""
    params = circuit | {
        "model": str(graph.path),
        kind: rows,
        "tag": [(1 << graph.layout.bits) - 1] * graph.layout.limbs,
    }
    found = graph.sandbox.run("trial", params)
    return Outcome(found["outputs"], tuple(found["lookups"]), found["output_scale"])


def reference(
    model: Path, input_name: str, output_name: str, rows: Floats, sandbox: Sandbox
) -> Floats:
    """Floats [n, outputs] of onnxruntime for ``rows`` [n, inputs]; the tag is zero.

    ``output_name`` may be any float tensor of the graph.
    """
    params = {
        "model": str(model.resolve()),
        "input": input_name,
        "output": output_name,
        "rows": rows.tolist(),
    }
    return np.asarray(sandbox.run("reference", params)["outputs"], dtype=np.float64)
