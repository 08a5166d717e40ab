"""What a bundle would prove of rows of one's own: its very integers, without a proof.

The reference is the publisher's file, byte for byte, run by onnxruntime on the float32 of exactly the
fixed-point numbers that a request would carry. Without that file no error is stated. What the answer
loses by rounding the given floats to that grid is another figure.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle import tensor
from oracle.circuits import classes, onnx, trial
from oracle.circuits.bundle import Bundle
from oracle.circuits.reveal import Reveal
from oracle.circuits.source import file_hash
from oracle.circuits.trial import Floats, Graph
from oracle.errors import (
    ModelUnsupported,
    ProverError,
    TensorLength,
    TensorRange,
    UsageError,
)
from oracle.prover.sandbox import Sandbox

OK, REFUSED, UNPROVABLE = "ok", "refused", "unprovable"
#: Rows that one child computes.
_CHUNK = 256
#: Rows that are named as the worst.
_WORST = 5
_QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the contract would not take a row: the first of its numbers that is at fault."""

    #: Which of the row's numbers, from 0.
    element: int
    #: Name of the input that it belongs to.
    input: str
    value: float
    #: What that number may be, both inclusive.
    low: float
    high: float
    #: In words.
    reason: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What became of each row, in the order in which they were given."""

    #: Of each row: `OK`, `REFUSED` by the contract's check of inputs, or `UNPROVABLE`.
    status: tuple[str, ...]
    #: Of the rows that are `REFUSED`.
    refusals: dict[int, Refusal]
    #: Proved numbers of each row, None where it is not `OK`.
    outputs: tuple[tuple[float, ...] | None, ...]
    #: Of the rows that are `OK`, from the publisher's file; None without it. See `Reveal.error`.
    errors: dict[int, float] | None
    #: By how much the publisher's answer to the given floats differs from that to the rounded ones;
    #: greatest over the rows, None without the file or a row that is `OK`.
    rounding_error: float | None
    #: The bound that the bundle promises.
    max_error: float
    #: Labels of the rows that have one: proved, and by the publisher's file where that is given.
    proved_labels: dict[int, str]
    model_labels: dict[int, str] | None

    def count(self, status: str) -> int:
        """How many rows ended so."""
        return self.status.count(status)

    @property
    def over_bound(self) -> list[int]:
        """Rows whose error exceeds the bound, the worst first."""
        return [row for row in self.worst if self._errors[row] > self.max_error]

    @property
    def worst(self) -> list[int]:
        """Rows by their error, the greatest first."""
        return sorted(self._errors, key=lambda row: -self._errors[row])

    @property
    def label_agreement(self) -> float | None:
        """Share of the proved rows with the publisher's label; None where there are no labels."""
        theirs = self.model_labels
        if not theirs:
            return None
        return float(np.mean([self.proved_labels[row] == label for row, label in theirs.items()]))

    def accuracy(self, labels: Sequence[str]) -> float | None:
        """Share of the proved rows whose label is the given one; None where there are none."""
        proved = self.proved_labels
        if not proved:
            return None
        return float(np.mean([labels[row] == label for row, label in proved.items()]))

    def confusion(self, labels: Sequence[str]) -> dict[tuple[str, str], int]:
        """How often each given label met each proved one: (given, proved) -> rows."""
        pairs = Counter((labels[row], proved) for row, proved in self.proved_labels.items())
        return dict(sorted(pairs.items()))

    def values(self, labels: Sequence[str] | None = None) -> dict[str, Any]:
        """All of it as JSON values."""
        errors = np.array(list(self._errors.values()))
        found: dict[str, Any] = {
            "rows": len(self.status),
            "refused": self.count(REFUSED),
            "unprovable": self.count(UNPROVABLE),
            "max_error": self.max_error,
            # What was not measured, for want of the file or of a proved row, is no zero.
            "max_abs_error": float(errors.max()) if errors.size else None,
            "over_bound": len(self.over_bound) if errors.size else None,
            "label_agreement": self.label_agreement,
            "rounding_error": self.rounding_error,
            "error_quantiles": {str(q): float(np.quantile(errors, q)) for q in _QUANTILES}
            if errors.size
            else None,
            "worst": [{"row": row, "error": self._errors[row]} for row in self.worst[:_WORST]]
            if errors.size
            else None,
            "status": list(self.status),
            "refusals": [
                {"row": row, **dataclasses.asdict(each), "value": _finite(each.value)}
                for row, each in self.refusals.items()
            ],
            "outputs": [None if row is None else list(row) for row in self.outputs],
        }
        if labels is not None:
            found["label_accuracy"] = self.accuracy(labels)
            found["confusion"] = [
                {"label": given, "proved": proved, "rows": rows}
                for (given, proved), rows in self.confusion(labels).items()
            ]
        return found

    @property
    def _errors(self) -> dict[int, float]:
        return self.errors or {}


def evaluate(
    bundle: Bundle,
    inputs: Floats,
    sandbox: Sandbox,
    *,
    source: Path | None = None,
    advance: Callable[[float], None] = lambda _: None,
) -> Evaluation:
    """Compute the bundle's answers to rows, and compare them with the publisher's file.

    Args:
        bundle: checked.
        inputs: float [n, numbers of an input].
        sandbox: runs the circuit and the file.
        source: the publisher's ONNX file.
        advance: called with the share of the rows that is done.

    Raises:
        TensorLength: rows of another length.
        UsageError: there are no rows, or the file is not the bundle's.
    """
    check_rows(bundle, inputs)
    if source is not None and file_hash(source, sandbox) != bundle.origin.file_hash:
        raise UsageError(
            f"{source} is not the file that {bundle.name} was built from",
            remedy="Give the publisher's file, byte for byte",
        )
    refusals: dict[int, Refusal] = {}
    quantized: dict[int, tuple[int, ...]] = {}
    for row, values in enumerate(inputs.tolist()):
        try:
            quantized[row] = tensor.fixed(values, bundle.spec.input, bundle.spec.input_ranges)
        except TensorRange as error:
            refusals[row] = _refusal(bundle, values, error)
    accepted = list(quantized)
    proved: dict[int, list[int]] = {}
    for start in range(0, len(accepted), _CHUNK):
        chunk = accepted[start : start + _CHUNK]
        computed = _computed(bundle, [quantized[row] for row in chunk], sandbox)
        found = zip(chunk, computed, strict=True)
        proved |= {row: integers for row, integers in found if integers is not None}
        advance((start + len(chunk)) / len(accepted))
    scale = bundle.spec.output.scale
    answers = {row: [tensor.dequantize(v, scale) for v in each] for row, each in proved.items()}
    return _compared(bundle, inputs, quantized, refusals, answers, source, sandbox)


def check_rows(bundle: Bundle, inputs: Floats) -> None:
    """Refuse what are no rows of the model's. Errors as `evaluate`."""
    spec = bundle.spec.input
    if inputs.ndim != 2 or inputs.shape[1] != spec.length:
        raise TensorLength(
            f"the rows have shape {list(inputs.shape)}, the model takes rows of {spec.length}",
            remedy=f"Give rows of {spec.length} numbers",
        )
    if not len(inputs):
        raise UsageError("there are no rows", remedy="Give at least one")


def _refusal(bundle: Bundle, row: list[float], error: TensorRange) -> Refusal:
    element = error.index or 0
    names = [info.name for info in bundle.origin.inputs for _ in range(info.length)]
    low, high = bundle.spec.input_bounds[element]
    scale = bundle.spec.input.scale
    return Refusal(
        element=element,
        input=names[element],
        value=row[element],
        low=tensor.dequantize(low, scale),
        high=tensor.dequantize(high, scale),
        reason=error.message,
    )


def _finite(value: float) -> float | None:
    """JSON has no other numbers."""
    return value if math.isfinite(value) else None


def _computed(
    bundle: Bundle, rows: list[tuple[int, ...]], sandbox: Sandbox
) -> list[list[int] | None]:
    """The circuit's integers; None where there is no proof, or none that the contract takes."""
    graph = Graph(bundle.model.resolve(), bundle.spec.tag, sandbox)
    settings = json.loads(bundle.circuit.settings.read_text())
    found = trial.run_integers(graph, settings, rows).integers
    low, high = bundle.spec.output.minimum, bundle.spec.output.maximum
    return [
        row if row is not None and all(low <= value <= high for value in row) else None
        for row in found
    ]


def _compared(
    bundle: Bundle,
    inputs: Floats,
    quantized: dict[int, tuple[int, ...]],
    refusals: dict[int, Refusal],
    answers: dict[int, list[float]],
    source: Path | None,
    sandbox: Sandbox,
) -> Evaluation:
    reveal, rows = Reveal.parse(bundle.origin.reveal), sorted(answers)
    errors = model_labels = rounding = None
    if source is not None:
        errors, model_labels = {}, {}
        if rows:
            scale = bundle.spec.input.scale
            grid = [[tensor.dequantize(v, scale) for v in quantized[row]] for row in rows]
            scores = _scores(bundle, source, np.asarray(grid), sandbox)
            given = _scores(bundle, source, inputs[rows], sandbox)
            misses = reveal.error(scores, np.array([answers[row] for row in rows]))
            errors = dict(zip(rows, misses.tolist(), strict=True))
            rounding = float(np.abs(given - scores).max())
            model_labels = _labels(bundle, rows, reveal.answers(scores))
    return Evaluation(
        status=tuple(
            REFUSED if row in refusals else OK if row in answers else UNPROVABLE
            for row in range(len(inputs))
        ),
        refusals=refusals,
        outputs=tuple(
            tuple(answers[row]) if row in answers else None for row in range(len(inputs))
        ),
        errors=errors,
        rounding_error=rounding,
        max_error=bundle.origin.max_error,
        proved_labels=_labels(bundle, rows, np.array([answers[row] for row in rows])),
        model_labels=model_labels,
    )


def _scores(bundle: Bundle, source: Path, rows: Floats, sandbox: Sandbox) -> Floats:
    """The publisher's answers, float [n, scores]."""
    origin = bundle.origin
    names = [info.name for info in origin.outputs]
    try:
        return onnx.answers(source, origin.inputs, names, origin.labels, rows, sandbox)
    except ProverError as error:
        raise ModelUnsupported(
            f"onnxruntime does not run {source} on the rows: {error.message}",
            remedy="Give rows that the model takes",
        ) from None


def _labels(bundle: Bundle, rows: Sequence[int], answers: npt.NDArray[Any]) -> dict[int, str]:
    """The label that each answer says; none where answers are neither labels nor scores."""
    return dict(zip(rows, classes.spoken(bundle.origin, answers) or (), strict=False))
