"""How good a circuit of a model is: its outputs beside the float model's, on samples and probes.

Every second sample is held back: it measures the result and steers the search by nothing but a
veto. Probes lie a little outside the promised range; a circuit has to take them, whatever it makes
of them.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.circuits import trial
from oracle.circuits.cost import Estimate, Objective
from oracle.circuits.onnx import Model, add_tag
from oracle.circuits.probes import probes
from oracle.circuits.ranges import promised
from oracle.circuits.reveal import Kind, Reveal
from oracle.circuits.row import Range
from oracle.circuits.shapes import Shape
from oracle.circuits.trial import Floats, Graph, Outcome
from oracle.errors import ModelUnsupported, ProverError
from oracle.tensor import quantize
from oracle.types import TagLayout, TensorSpec

Json = dict[str, Any]

#: The search asks for this share of the error bound, so that unseen samples meet the bound too.
_HEADROOM = 0.7
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
    #: What is published, and the tensor that holds the scores it is made from.
    reveal: Reveal
    scores: str

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
    """How near a circuit comes to the float model, on samples that the search did not see."""

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

    candidate: Candidate
    #: ezkl's settings, normalised: the same for the same choice.
    settings: Json
    #: What ezkl was asked for to get them.
    run_args: Json
    input: TensorSpec
    output: TensorSpec
    accuracy: Accuracy
    #: The inputs that were tried, float [n, inputs]: samples, and probes beyond their range.
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
    #: Errors [n].
    errors: Floats
    #: Least and greatest value that was looked up.
    lookups: tuple[int, int]


class Judge:
    """What all circuits of a model are measured by."""

    def __init__(self, subject: Subject, samples: Floats, goal: Goal) -> None:
        """Take samples, float [n, inputs], n >= 2.

        Raises:
            ModelUnsupported: the float model gives no finite numbers for them.
        """
        self.goal = goal
        seen, held_back = _thin(np.arange(0, len(samples), 2)), _thin(np.arange(1, len(samples), 2))
        #: Index, among the samples, of every row that is compared; those seen come first.
        self._indices = np.concatenate([seen, held_back])
        self._seen = len(seen)
        self.rows = samples[self._indices]
        self._expected = _expected(subject, self.rows)
        self._subject = subject
        model = subject.model
        self.promised = promised(samples, model.inputs)
        beyond = probes(
            subject.graph, model.input_name, self.promised, model.input_length, model.limits
        )
        #: All rows that a circuit has to take, float [n, inputs].
        self.tried = np.vstack([self.rows, beyond])

    def compare(self, found: Outcome) -> Comparison | None:
        """Outputs for the first rows of `tried`; None if one does not fit the circuit."""
        if not found.complete:
            return None
        count = min(len(found.integers), len(self.rows))
        outputs = found.floats()[:count]
        errors = self._subject.reveal.error(self._expected[:count], outputs)
        return Comparison(outputs, errors, found.lookups)

    def seen(self, compared: Comparison) -> float:
        """The greatest error of the samples that the search may look at."""
        return float(compared.errors[: self._seen].max())

    def accurate(self, compared: Comparison) -> bool:
        """Whether the samples seen keep well within the bound."""
        # A NaN is not accurate either.
        return self.seen(compared) <= self.goal.max_error * _HEADROOM

    def confirmed(self, compared: Comparison) -> bool:
        """Whether those held back keep the bound."""
        return float(compared.errors[self._seen :].max()) <= self.goal.max_error

    def worst_seen(self, compared: Comparison) -> str:
        """Says which sample is off by most."""
        return self._worst(compared, 0)

    def worst_held_back(self, compared: Comparison) -> str:
        """As `worst_seen`, of the samples held back."""
        return self._worst(compared, self._seen)

    def tuned(
        self, candidate: Candidate, settings: Json, run_args: Json, compared: Comparison
    ) -> Tuned:
        """A circuit that took every row of `tried`."""
        return Tuned(
            dataclasses.replace(candidate, outcome="finalist"),
            settings,
            run_args,
            *_tensors(candidate.shape, settings, self.promised, compared.outputs.shape[1]),
            self._accuracy(compared),
            self.tried,
        )

    def _accuracy(self, compared: Comparison) -> Accuracy:
        """What the held-back rows say."""
        errors = compared.errors[self._seen :]
        agreement = _label_agreement(
            self._subject,
            self._expected[self._seen :],
            compared.outputs[self._seen :],
            errors,
        )
        return Accuracy(float(errors.max()), agreement)

    def _worst(self, compared: Comparison, start: int) -> str:
        row = start + int(np.argmax(compared.errors[start:]))
        return (
            f"sample {self._indices[row]} is off by {compared.errors[row]:.3g}: "
            f"expected {_shown(self._expected[row])}, proved {_shown(compared.outputs[row])}"
        )


def _expected(subject: Subject, rows: Floats) -> Floats:
    """The float model's scores [n, scores], before any reveal policy."""
    name, graph = subject.model.input_name, subject.graph
    try:
        expected = trial.reference(graph.path, name, subject.scores, rows, graph.sandbox)
    except ProverError as error:
        raise ModelUnsupported(
            f"onnxruntime cannot run the model: {error.message}",
            remedy="Export it again with an opset from 9 to 18",
        ) from None
    finite = np.isfinite(expected).all(axis=1)
    if not finite.all():
        raise ModelUnsupported(
            f"the float model's output for {_shown(rows[~finite][0])} is not a finite number",
            remedy="Correct the model's weights, or leave such inputs out of the samples",
        )
    return expected


def _tensors(
    shape: Shape, settings: Json, within: Range, outputs: int
) -> tuple[TensorSpec, TensorSpec]:
    inputs = math.prod(settings["model_instance_shapes"][0])
    scale = settings["model_input_scales"][0]
    minimum, maximum = quantize(within.low, scale), quantize(within.high, scale)
    # The circuit range-checks its outputs against base**legs: what it proves, this range holds.
    bound = shape.bound - 1
    output_scale = settings["model_output_scales"][0]
    return (
        TensorSpec(inputs, _width(minimum, maximum), scale, minimum, maximum),
        TensorSpec(outputs, _width(-bound, bound), output_scale, -bound, bound),
    )


def _width(minimum: int, maximum: int) -> int:
    """Bytes of the two's complement that holds both."""
    return max((~minimum).bit_length() if minimum < 0 else 0, maximum.bit_length()) // 8 + 1


def _label_agreement(
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


def _shown(values: Floats) -> str:
    listed = ", ".join(f"{value:.6g}" for value in values[:8])
    more = f" and {len(values) - 8} more" if len(values) > 8 else ""
    return f"[{listed}]{more}"


def _thin(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """At most `_TUNING_SAMPLES` of them, evenly spread."""
    return indices[:: -(-len(indices) // _TUNING_SAMPLES)]
