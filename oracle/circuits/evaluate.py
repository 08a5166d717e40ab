"""What a bundle would prove of rows of one's own: its very integers, without a proof.

The reference is the publisher's file, byte for byte, run by onnxruntime on the float32 of exactly the
fixed-point numbers that a request would carry. Without that file no error is stated. What the answer
loses by rounding the given floats to that grid is another figure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle import tensor
from oracle.circuits import onnx, trial
from oracle.circuits.bundle import Bundle
from oracle.circuits.reveal import Kind, Reveal
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
from oracle.types import ModelSpec

OK, REFUSED, UNPROVABLE = "ok", "refused", "unprovable"
#: Rows that one child computes.
_CHUNK = 256
#: Rows that are named as the worst.
_WORST = 5
_QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What became of each row, in the order in which they were given."""

    #: Of each row: `OK`, `REFUSED` by the contract's check of inputs, or `UNPROVABLE`.
    status: tuple[str, ...]
    #: Proved numbers of each row, None where it is not `OK`.
    outputs: tuple[tuple[float, ...] | None, ...]
    #: Of the rows that are `OK`, from the publisher's file; None without it. See `Reveal.error`.
    errors: dict[int, float] | None
    #: By how much the publisher's answer to the given floats differs from that to the rounded ones;
    #: greatest over the rows, None without the file.
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

    def confusion(self, labels: Sequence[str]) -> dict[tuple[str, str], int]:
        """How often each given label met each proved one: (given, proved) -> rows."""
        pairs = Counter((labels[row], proved) for row, proved in self.proved_labels.items())
        return dict(sorted(pairs.items()))

    def values(self, labels: Sequence[str] | None = None) -> dict[str, Any]:
        """All of it as JSON values."""
        errors = None if self.errors is None else np.array(list(self.errors.values()))
        found: dict[str, Any] = {
            "rows": len(self.status),
            "refused": self.count(REFUSED),
            "unprovable": self.count(UNPROVABLE),
            "max_error": self.max_error,
            "max_abs_error": None if errors is None else float(errors.max(initial=0)),
            "over_bound": None if errors is None else len(self.over_bound),
            "label_agreement": self.label_agreement,
            "rounding_error": self.rounding_error,
            "error_quantiles": None
            if errors is None or not errors.size
            else {str(q): float(np.quantile(errors, q)) for q in _QUANTILES},
            "worst": None
            if errors is None
            else [{"row": row, "error": self._errors[row]} for row in self.worst[:_WORST]],
            "status": list(self.status),
            "outputs": [None if row is None else list(row) for row in self.outputs],
        }
        if labels is not None:
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
    spec = bundle.spec.input
    if inputs.ndim != 2 or inputs.shape[1] != spec.length:
        raise TensorLength(
            f"the rows have shape {list(inputs.shape)}, the model takes rows of {spec.length}",
            remedy=f"Give rows of {spec.length} numbers",
        )
    if not len(inputs):
        raise UsageError("there are no rows", remedy="Give at least one")
    if source is not None and file_hash(source, sandbox) != bundle.origin.file_hash:
        raise UsageError(
            f"{source} is not the file that {bundle.name} was built from",
            remedy="Give the publisher's file, byte for byte",
        )
    quantized = [_quantized(row, bundle.spec) for row in inputs.tolist()]
    accepted = [row for row, numbers in enumerate(quantized) if numbers is not None]
    proved: dict[int, list[int]] = {}
    for start in range(0, len(accepted), _CHUNK):
        chunk = accepted[start : start + _CHUNK]
        rows = [numbers for row in chunk if (numbers := quantized[row]) is not None]
        found = zip(chunk, _computed(bundle, rows, sandbox), strict=True)
        proved |= {row: integers for row, integers in found if integers is not None}
        advance((start + len(chunk)) / len(accepted))
    scale = bundle.spec.output.scale
    answers = {row: [tensor.dequantize(v, scale) for v in each] for row, each in proved.items()}
    return _compared(bundle, inputs, quantized, answers, source, sandbox)


def _quantized(row: list[float], spec: ModelSpec) -> tuple[int, ...] | None:
    """What a request would carry; None if the contract refuses it."""
    try:
        return tensor.unpack(tensor.encode(row, spec.input, ranges=spec.input_ranges), spec.input)
    except TensorRange:
        return None


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
    quantized: Sequence[tuple[int, ...] | None],
    answers: dict[int, list[float]],
    source: Path | None,
    sandbox: Sandbox,
) -> Evaluation:
    reveal, rows = Reveal.parse(bundle.origin.reveal), sorted(answers)
    errors = model_labels = rounding = None
    if source is not None:
        errors, model_labels, rounding = {}, {}, 0.0
        if rows:
            scale = bundle.spec.input.scale
            grid = [[tensor.dequantize(v, scale) for v in quantized[row] or ()] for row in rows]
            scores = _scores(bundle, source, np.asarray(grid), sandbox)
            given = _scores(bundle, source, inputs[rows], sandbox)
            misses = reveal.error(scores, np.array([answers[row] for row in rows]))
            errors = dict(zip(rows, misses.tolist(), strict=True))
            rounding = float(np.abs(given - scores).max())
            model_labels = _labels(bundle, rows, _revealed(reveal, scores))
    return Evaluation(
        status=tuple(
            REFUSED if numbers is None else OK if row in answers else UNPROVABLE
            for row, numbers in enumerate(quantized)
        ),
        outputs=tuple(
            tuple(answers[row]) if row in answers else None for row in range(len(quantized))
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


def _revealed(reveal: Reveal, scores: Floats) -> Floats:
    """What the policy publishes of exact scores, as far as labels go."""
    if reveal.kind in (Kind.TOP1, Kind.TOPK):
        return np.asarray(scores.argmax(axis=1)[:, np.newaxis], dtype=np.float64)
    if reveal.kind is Kind.THRESHOLD:
        return np.asarray(scores >= reveal.parameter, dtype=np.float64)
    return scores


def _labels(bundle: Bundle, rows: Sequence[int], answers: npt.NDArray[Any]) -> dict[int, str]:
    """The label that each answer gives; none where answers are neither labels nor scores."""
    chosen = _chosen(bundle, answers) if len(rows) else None
    if chosen is None:
        return {}
    names = bundle.origin.labels
    found = [round(value) for value in chosen.tolist()]
    texts = [names[i] if 0 <= i < len(names) else str(i) for i in found]
    return dict(zip(rows, texts, strict=True))


def _chosen(bundle: Bundle, answers: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """The class, or the whole number, that each answer says."""
    kind, outputs = Reveal.parse(bundle.origin.reveal).kind, bundle.origin.outputs
    is_one_number = answers.shape[1] == 1
    if kind in (Kind.TOP1, Kind.TOPK):
        return answers[:, 0]
    if len(outputs) != 1 or kind is Kind.ROUND:
        return None
    if kind is Kind.THRESHOLD:
        return answers[:, 0] if is_one_number else None
    if not outputs[0].is_float:
        return answers[:, 0]
    return None if is_one_number else np.asarray(answers.argmax(axis=1))
