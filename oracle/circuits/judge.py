"""How good a circuit of a model is: its outputs beside the float model's, on samples and probes.

Every second sample is held back: it measures the result and steers the search by nothing but a
veto. So do rows from all over the promised ranges. Samples are compared with what the publisher's
file answers to them; the other rows, and what a finalist is attacked with, with what it answers to
exactly the numbers of the grid that a request carries.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.circuits import norms
from oracle.circuits import promise as promises
from oracle.circuits.arithmetic import Arithmetic
from oracle.circuits.cost import Estimate, Objective
from oracle.circuits.guarantee import Guarantee, arithmetic_of, guarantee
from oracle.circuits.onnx import Model, add_tag
from oracle.circuits.probes import driven, inside
from oracle.circuits.promise import Promise
from oracle.circuits.reference import Reference
from oracle.circuits.reveal import Kind, Reveal
from oracle.circuits.shapes import Shape
from oracle.circuits.thresholds import snap
from oracle.circuits.trial import Floats, Graph, Outcome
from oracle.errors import ModelUnsupported
from oracle.types import TagLayout, TensorSpec

Json = dict[str, Any]

#: The search asks for this share of the error bound, so that unseen rows meet the bound too.
HEADROOM = 0.7
#: A jump may go the other way where what is compared differs by so many times the bound.
MARGIN_BOUNDS = 2.0
#: Float32 holds every whole number up to this.
_EXACT = 1 << 24
#: Samples that the search looks at; more cost time and change little.
_TUNING_SAMPLES = 32
#: Samples of those for a first look at a circuit.
FIRST_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that is tuned."""

    model: Model
    #: Its file, and beside it those of other tag layouts.
    graph: Graph
    #: What is published.
    reveal: Reveal
    #: Which inputs it is for.
    promise: Promise

    def input_scale(self, asked: int) -> int:
        """Fractional bits of the inputs where a circuit is asked for so many: whole numbers have none."""
        return asked if any(info.is_float for info in self.model.inputs) else 0

    def at(self, scale: int) -> Subject:
        """The subject for a scale that is asked for: its comparisons of inputs are exact at it."""
        finer = {"param_scale": scale + norms.FINER} if self.model.widened else {}
        graph = dataclasses.replace(self.graph, asked=self.graph.asked | finer)
        scale = self.input_scale(scale)
        model = snap(self.model, scale, self.promise.integers(scale))
        if model is not self.model:
            folder = graph.path.parent / f"scale-{scale}"
            path = folder / graph.path.name
            if not path.exists():
                folder.mkdir()
                path.write_bytes(add_tag(model, graph.layout))
            graph = dataclasses.replace(graph, path=path)
        return dataclasses.replace(self, model=model, graph=graph)

    def graph_for(self, tag: TagLayout) -> Graph:
        """The model with a tag of this layout."""
        if tag == self.graph.layout:
            return self.graph
        path = self.graph.path.with_name(f"tag-{tag.limbs}x{tag.bits}.onnx")
        path.write_bytes(add_tag(self.model, tag))
        return dataclasses.replace(self.graph, path=path, layout=tag)


@dataclass(frozen=True, slots=True)
class Goal:
    """What makes one circuit better than another, and what rules one out."""

    #: Bound on the absolute difference from the float model, per score.
    max_error: float
    objective: Objective
    #: Seconds here for a second on the reference machine.
    speed: float
    #: What one proof may use.
    memory_bytes: int
    seconds: float

    def rank(self, estimate: Estimate) -> tuple[float, float]:
        """Sorts circuits by their estimates, the best first; the first number is what counts."""
        return self.objective.rank(estimate.gas, estimate.prove_seconds)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How near a circuit comes to the float model, on samples that the search did not see.

    Rounding of the inputs is a part of it.
    """

    #: Greatest difference; for a reveal policy see `Reveal.error`.
    max_abs_error: float
    #: Share of the samples with the float model's label; None where the outputs are no scores.
    label_agreement: float | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A layout that was considered."""

    shape: Shape
    estimate: Estimate
    #: None until the search came to it.
    scale: int | None = None
    #: ``finalist``, or why not.
    outcome: str = "estimated only"


@dataclass(frozen=True, slots=True)
class Tuned:
    """A circuit that can be built."""

    #: The model as it is proved.
    subject: Subject
    candidate: Candidate
    #: ezkl's settings, normalised: the same for the same choice.
    settings: Json
    #: What ezkl was asked for to get them.
    run_args: Json
    input: TensorSpec
    #: Range of each input element, where one does not serve; else empty.
    input_ranges: tuple[tuple[int, int], ...]
    output: TensorSpec
    accuracy: Accuracy
    #: The inputs that were tried, float [n, inputs]: samples, and rows of the promised ranges.
    tried: Floats

    @property
    def tag(self) -> TagLayout:
        """How the circuit takes its tag."""
        return self.candidate.shape.tag


@dataclass(frozen=True, slots=True)
class Comparison:
    """A circuit's outputs beside the float model's."""

    #: Real outputs [n, outputs].
    outputs: Floats
    #: What they were compared with, scores [n, scores].
    expected: Floats
    #: Errors [n]; zero where a jump may go the other way, NaN where there is no number.
    errors: Floats
    #: Least and greatest value that was looked up.
    lookups: tuple[int, int]


class Judge:
    """What all circuits of a form of a model are measured by."""

    def __init__(
        self,
        subject: Subject,
        samples: Floats,
        goal: Goal,
        reference: Reference,
        more: Floats | None = None,
    ) -> None:
        """Take samples, float [n, inputs], n >= 2, and ``more`` rows [k, inputs] of the ranges.

        Raises:
            ModelUnsupported: the float model gives no finite numbers for the samples.
        """
        self.goal = goal
        self._subject, self.reference = subject, reference
        seen, held_back = _thin(np.arange(0, len(samples), 2)), _thin(np.arange(1, len(samples), 2))
        #: Index, among the samples, of every row that is compared; those seen come first.
        self._indices = np.concatenate([seen, held_back])
        self._seen = len(seen)
        self.rows = samples[self._indices]
        self._expected = expected(reference, self.rows)
        promise = subject.promise
        low, high = promise.low, promise.high
        rows = [np.empty((0, len(low))) if more is None else more]
        if promise.kind is promises.Kind.RANGES:
            whole = promises.whole_elements(subject.model.inputs)
            rows.append(inside(low, high, samples, whole, seed=1))
        corners = driven(subject.graph, subject.model.input_name, low, high)
        #: All rows that a circuit has to take, float [n, inputs]: those that ask most at the end.
        self.tried = np.vstack([self.rows, *rows, corners])
        # What is promised for samples alone is measured on nothing else.
        unmeasured = 0 if promise.kind is promises.Kind.RANGES else len(corners)
        self._measured = len(self.tried) - unmeasured
        #: By scale, the expected scores of the rows after the samples.
        self._on_grid: dict[int, Floats] = {}

    def compare(self, found: Outcome, scale: int) -> Comparison | None:
        """Outputs for the first rows of `tried`, at a scale of the inputs.

        None if one does not fit the circuit.
        """
        if not found.complete:
            return None
        count, samples = len(found.integers), len(self.rows)
        outputs = found.floats()
        expected = self._expected[:count]
        if min(count, self._measured) > samples:
            expected = np.vstack([expected, self._expected_at(scale)[: count - samples]])
        outputs = outputs[: len(expected)]
        errors = self._subject.reveal.error(expected, outputs)
        over = np.flatnonzero(errors > self.goal.max_error * HEADROOM)
        if len(over) and self.reference.has_jumps:
            errors[over[self._near_a_jump(over, scale)]] = 0.0
        return Comparison(outputs, expected, errors, found.lookups)

    def tried_at(self, scale: int) -> Floats:
        """The rows of `tried`, those of the ranges on a grid of so many fractional bits."""
        samples = len(self.rows)
        return np.vstack([self.rows, self._grid(self.tried[samples:], scale)])

    def takes(self, scale: int) -> bool:
        """Whether float32 holds every promised number of a grid."""
        return all(max(-low, high) <= _EXACT for low, high in self._subject.promise.integers(scale))

    def seen(self, compared: Comparison) -> float:
        """The greatest error of the samples that the search may look at."""
        return float(compared.errors[: self._seen].max())

    def accurate(self, compared: Comparison) -> bool:
        """Whether the samples seen keep well within the bound."""
        # A NaN is not accurate either.
        return self.seen(compared) <= self.goal.max_error * HEADROOM

    def confirmed(self, compared: Comparison) -> bool:
        """Whether those held back keep the bound, and the rows of the ranges well within it."""
        samples = len(self.rows)
        held_back, ranges = compared.errors[self._seen : samples], compared.errors[samples:]
        return bool(
            np.all(held_back <= self.goal.max_error)
            and np.all(ranges <= self.goal.max_error * HEADROOM)
        )

    def _expected_at(self, scale: int) -> Floats:
        """The file's scores for the numbers of a grid next to the rows after the samples."""
        if scale not in self._on_grid:
            rows = self.tried[len(self.rows) : self._measured]
            self._on_grid[scale] = self.reference.answers(self._grid(rows, scale))
        return self._on_grid[scale]

    def _near_a_jump(self, indices: npt.NDArray[np.int64], scale: int) -> npt.NDArray[np.bool_]:
        """Whether rows of `tried` are within the margin of a jump."""
        rows = self.tried[indices]
        on_grid = np.where((indices < len(self.rows))[:, np.newaxis], rows, self._grid(rows, scale))
        return self.reference.distances(on_grid) <= MARGIN_BOUNDS * self.goal.max_error

    def _grid(self, rows: Floats, scale: int) -> Floats:
        scale = self._subject.input_scale(scale)
        return np.ldexp(self._subject.promise.on_grid(rows, scale).astype(np.float64), -scale)

    def worst_seen(self, compared: Comparison) -> str:
        """Says which sample is off by most."""
        return self._worst(compared, 0, self._seen)

    def worst_unseen(self, compared: Comparison) -> str:
        """Says which sample held back, or row of the ranges, is off by most."""
        return self._worst(compared, self._seen, len(compared.errors))

    def guarantee(self, subject: Subject, run_args: Json) -> Guarantee | None:
        """What is certain of a circuit of the model that is proved; None where nothing is."""
        arithmetic = arithmetic_of(subject.graph.path, run_args | subject.graph.asked)
        if arithmetic is None:
            return None
        return certainty(subject, self.reference.scored, arithmetic, self.goal)

    @property
    def certifies_plans(self) -> bool:
        """Whether anything can be certain of a planned file: not of what it compares."""
        is_full = self._subject.reveal.kind is Kind.FULL
        return is_full and not self.reference.has_jumps

    def would_be_certain(self, subject: Subject, run_args: Json) -> bool:
        """Whether the error of such a circuit is certain to keep the bound."""
        if subject.promise.kind is not promises.Kind.RANGES:
            return False
        found = self.guarantee(subject, run_args)
        return found is not None and found.error <= self.goal.max_error

    def is_certain(self, tuned: Tuned) -> bool:
        """Whether the error of a finalist is certain to keep the bound."""
        return self.would_be_certain(tuned.subject, tuned.settings["run_args"])

    def tuned(
        self,
        subject: Subject,
        candidate: Candidate,
        settings: Json,
        run_args: Json,
        compared: Comparison,
    ) -> Tuned:
        """A circuit that took every row of `tried`."""
        return Tuned(
            subject,
            dataclasses.replace(candidate, outcome="finalist"),
            settings,
            run_args,
            *_tensors(candidate.shape, settings, subject.promise, compared.outputs.shape[1]),
            self._accuracy(compared),
            self.tried,
        )

    def _accuracy(self, compared: Comparison) -> Accuracy:
        """What the held-back samples say."""
        held_back = slice(self._seen, len(self.rows))
        errors = compared.errors[held_back]
        agreement = label_agreement(
            self._subject, self._expected[held_back], compared.outputs[held_back], errors
        )
        return Accuracy(float(errors.max()), agreement)

    def _worst(self, compared: Comparison, start: int, end: int) -> str:
        errors = np.nan_to_num(compared.errors[start:end], nan=np.inf)
        row = start + int(np.argmax(errors))
        if row < len(self.rows):
            held_back = ", on a sample that was held back" if row >= self._seen else ""
            what, which = f"sample {self._indices[row]}", held_back
        else:
            what, which = f"the input {shown(self.tried[row])}", ", within the promised range"
        return (
            f"{what} is off by {compared.errors[row]:.3g}: expected "
            f"{shown(compared.expected[row])}, proved {shown(compared.outputs[row])}{which}"
        )


def certainty(
    subject: Subject, scored: Model, arithmetic: Arithmetic, goal: Goal
) -> Guarantee | None:
    """What is certain of a circuit; None where nothing is.

    Args:
        subject: the model as it is proved.
        scored: before any reveal policy.
        arithmetic: of the model's file.
        goal: what is wanted.
    """
    return guarantee(
        subject.model,
        scored,
        subject.reveal,
        arithmetic,
        subject.promise.at(arithmetic.input_scale),
        MARGIN_BOUNDS * goal.max_error,
    )


def expected(reference: Reference, rows: Floats) -> Floats:
    """The float model's scores [n, scores] of samples, before any reveal policy.

    Raises:
        ModelUnsupported: it gives no finite numbers for one of them.
    """
    scores = reference.answers(rows)
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        raise ModelUnsupported(
            f"the float model's output for {shown(rows[~finite][0])} is not a finite number",
            remedy="Correct the model's weights, or leave such inputs out of the samples",
        )
    return scores


def _tensors(
    shape: Shape, settings: Json, promise: Promise, outputs: int
) -> tuple[TensorSpec, tuple[tuple[int, int], ...], TensorSpec]:
    inputs = math.prod(settings["model_instance_shapes"][0])
    scale = settings["model_input_scales"][0]
    ranges = promise.integers(scale)
    minimum, maximum = min(low for low, _ in ranges), max(high for _, high in ranges)
    # The circuit range-checks its outputs against base**legs: what it proves, this range holds.
    bound = shape.bound - 1
    output_scale = settings["model_output_scales"][0]
    return (
        TensorSpec(inputs, _width(minimum, maximum), scale, minimum, maximum),
        () if promise.is_uniform else ranges,
        TensorSpec(outputs, _width(-bound, bound), output_scale, -bound, bound),
    )


def _width(minimum: int, maximum: int) -> int:
    """Bytes of the two's complement that holds both."""
    return max((~minimum).bit_length() if minimum < 0 else 0, maximum.bit_length()) // 8 + 1


def label_agreement(
    subject: Subject, expected: Floats, outputs: Floats, errors: Floats
) -> float | None:
    """Share of rows with the float model's label; None if the outputs are neither label nor scores."""
    if subject.reveal.kind is not Kind.FULL:
        return float(np.mean(errors == 0))
    if len(subject.model.outputs) != 1:
        return None
    if expected.shape[1] > 1:
        return float(np.mean(expected.argmax(axis=1) == outputs.argmax(axis=1)))
    if "int" in subject.model.outputs[0].dtype:
        return float(np.mean(np.rint(outputs) == expected))
    return None


def shown(values: Floats) -> str:
    """The first of some numbers, for a message."""
    listed = ", ".join(f"{value:.6g}" for value in values[:8])
    more = f" and {len(values) - 8} more" if len(values) > 8 else ""
    return f"[{listed}]{more}"


def _thin(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """At most `_TUNING_SAMPLES` of them, evenly spread."""
    return indices[:: -(-len(indices) // _TUNING_SAMPLES)]
