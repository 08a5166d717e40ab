"""What a build would prove of a case, found without keys, and the publisher's file beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from oracle.circuits import build, onnx, trial
from oracle.circuits import reveal as policies
from oracle.circuits.reveal import Kind, Reveal
from oracle.circuits.trial import Graph
from oracle.errors import ProverError
from oracle.prover.sandbox import Sandbox
from oracle.tensor import dequantize, quantize
from oracle.types import TensorSpec
from scripts.truth.case import Case, answers

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Json = dict[str, Any]

#: Rows that one child computes.
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Promise:
    """What the search of a build came to, as far as an attack has to know."""

    #: The model as it is loaded: the names and shapes of its inputs and scores.
    scored: onnx.Model
    #: The model with its policy, before a plan or limits of any kind.
    revealed: onnx.Model
    #: The circuit: its graph and settings.
    graph: Graph
    settings: Json
    input: TensorSpec
    output: TensorSpec
    #: Least and greatest integer that the contract takes, of each element of a row [inputs].
    low: Integers
    high: Integers
    #: Inputs that the search tried, float [n, inputs].
    tried: Floats
    #: Greatest error that the search measured.
    measured: float
    #: A bound on the error of every input, or None where none is stated.
    certified: float | None
    #: An answer may jump where numbers that are compared are nearer to each other than this.
    margin: float


def search(
    path: Path,
    samples: npt.NDArray[np.floating[Any]],
    *,
    max_error: float,
    reveal: Reveal,
    sandbox: Sandbox,
    work: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> Promise:
    """Search as `oracle.circuits.build.build` does with its default options, and make no key.

    Args:
        path: the publisher's file.
        samples: float [n, inputs].
        max_error: the bound.
        reveal: how much of the answer is published.
        sandbox: runs native code.
        work: folder that lives as long as the promise is used.
        progress: called with a few words before each step.

    Raises:
        ModelError, CircuitError: as `build`.
    """
    folder = Path(tempfile.mkdtemp(dir=work))
    chosen = build.search(
        path,
        samples,
        max_error=max_error,
        work=folder,
        reveal=reveal,
        progress=progress,
        limits=sandbox.limits,
    )
    best, attacked = chosen.found.finalists[0], chosen.attacked[0]
    bounds = np.array(chosen.promise.integers(best.input.scale), dtype=np.int64)
    return Promise(
        scored=chosen.scored,
        revealed=policies.apply(chosen.scored, reveal),
        graph=best.subject.graph_for(best.tag),
        settings=best.settings,
        input=best.input,
        output=best.output,
        low=bounds[:, 0],
        high=bounds[:, 1],
        tried=best.tried,
        measured=attacked.error,
        certified=None if attacked.guarantee is None else attacked.guarantee.error,
        margin=chosen.margin(best),
    )


def on_grid(rows: npt.NDArray[np.floating[Any]], scale: int) -> Integers:
    """Rows as a request would carry them."""
    listed = [[quantize(value, scale) for value in row] for row in rows.tolist()]
    return np.array(listed, dtype=np.int64).reshape(rows.shape)


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of rows; index by index."""

    #: Fixed-point inputs [n, inputs].
    rows: Integers
    #: Scores by the publisher's file [n, scores]; NaN throughout where it takes no such row.
    scores: Floats
    #: What was proved; None where nothing can be.
    proved: list[list[float] | None]
    #: `Reveal.error` of each [n]: infinite where the file gives no number, NaN where nothing is proved.
    errors: Floats

    @property
    def unprovable(self) -> npt.NDArray[np.bool_]:
        """Rows that the contract takes and nobody can prove [n]."""
        return np.isnan(self.errors)

    def picked(self, index: npt.NDArray[Any]) -> Tried:
        """Some of the rows, by positions or bits."""
        positions = np.arange(len(self.rows))[index]
        return Tried(
            self.rows[positions],
            self.scores[positions],
            [self.proved[position] for position in positions],
            self.errors[positions],
        )


def joined(parts: Sequence[Tried]) -> Tried:
    """All rows of some; at least one part."""
    return Tried(
        np.vstack([part.rows for part in parts]),
        np.vstack([part.scores for part in parts]),
        [row for part in parts for row in part.proved],
        np.concatenate([part.errors for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class Target:
    """A circuit, and the file that it must agree with."""

    case: Case
    promise: Promise
    #: The publisher's file.
    source: Path
    sandbox: Sandbox

    @property
    def reveal(self) -> Reveal:
        """The policy."""
        return Reveal.parse(self.case.reveal)

    def scores(self, rows: Integers) -> Floats:
        """The file's scores for fixed-point rows, [n, scores], on exactly the numbers they stand for."""
        reals = self.reals(rows)
        parts = [self._answers(reals[i : i + _CHUNK]) for i in range(0, len(reals), _CHUNK)]
        return np.vstack(parts) if parts else np.empty((0, 0))

    def screened(self, rows: Integers) -> Floats:
        """As `scores`, without a child: to choose rows by, not to judge them."""
        try:
            return answers(self.case.onnx, self.reals(rows))
        except (Fail, InvalidArgument, RuntimeException):
            # It takes some of them, or none.
            return self.scores(rows)

    def reals(self, rows: Integers) -> Floats:
        """The numbers that fixed-point integers stand for."""
        return np.ldexp(rows.astype(np.float64), -self.promise.input.scale)

    def try_rows(self, rows: Integers) -> Tried:
        """What the circuit proves of fixed-point rows that the contract takes, and the file says."""
        scores = self.scores(rows)
        proved: list[list[float] | None] = []
        for start in range(0, len(rows), _CHUNK):
            proved += self._proved(rows[start : start + _CHUNK])
        errors = np.array(
            [self._error(*pair) for pair in zip(scores, proved, strict=True)], dtype=np.float64
        )
        return Tried(rows, scores, proved, errors)

    def _proved(self, rows: Integers) -> list[list[float] | None]:
        promise = self.promise
        found = trial.run_integers(promise.graph, promise.settings, rows.tolist()).integers
        low, high, scale = promise.output.minimum, promise.output.maximum, promise.output.scale
        return [
            [dequantize(value, scale) for value in row]
            if row is not None and all(low <= value <= high for value in row)
            else None
            for row in found
        ]

    def _answers(self, reals: Floats) -> Floats:
        scored = self.promise.scored
        names = [info.name for info in scored.outputs]
        try:
            return onnx.answers(
                self.source, scored.inputs, names, scored.labels, reals, self.sandbox
            )
        except ProverError:
            if len(reals) == 1:
                # It is an input that the file does not take, and the contract does.
                return np.full((1, sum(info.length for info in scored.outputs)), np.nan)
        middle = len(reals) // 2
        return np.vstack([self._answers(reals[:middle]), self._answers(reals[middle:])])

    def _error(self, scores: Floats, proved: list[float] | None) -> float:
        if proved is None:
            return float("nan")
        if not np.isfinite(scores).all():
            return float("inf")
        if self.reveal.kind in (Kind.TOP1, Kind.TOPK) and not _are_indices(proved, len(scores)):
            return float("inf")
        return float(self.reveal.error(scores[np.newaxis], np.array([proved]))[0])


def _are_indices(proved: Sequence[float], count: int) -> bool:
    return all(value in range(count) for value in proved)
