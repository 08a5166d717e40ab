"""Search for the best circuit that is accurate enough.

ezkl's defaults are far from good: its decomposition base alone forces 2**15 rows, and its
calibration moves only scales. Here every layout worth a look (`shapes`) gets an estimate of what it
costs (`cost`), and the search takes them the best first:

- for its multiplier, the least scale whose outputs meet the error bound;
- the range of what its lookup tables are asked, which may need more table columns: then it goes
  back into the queue with a new estimate;
- whether it takes every sample and every probe beyond their range.

The first that passes has the best estimate. Those that follow within the estimate's own error are
finalists too, unless they are estimated worse in every respect; the builder builds and measures
the finalists.

Batch sizes share one arithmetic: what was chosen for one row, `widen` lays out for several.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.circuits import cost, trial
from oracle.circuits.cost import BLINDING_ROWS, Estimate, Objective
from oracle.circuits.onnx import Model, add_tag
from oracle.circuits.probes import probes
from oracle.circuits.ranges import promised
from oracle.circuits.reveal import Kind, Reveal
from oracle.circuits.row import Range
from oracle.circuits.shapes import (
    MAX_LOGROWS,
    SPARE_LOGROWS,
    TALL_LOGROWS,
    Shape,
    Survey,
    least_logrows,
    refused,
    roomy,
    shapes,
    survey,
)
from oracle.circuits.trial import Floats, Graph, Outcome
from oracle.circuits.verifier import MAX_CODE_BYTES, too_large
from oracle.errors import (
    CircuitError,
    CircuitInaccurate,
    CircuitTooLarge,
    ModelUnsupported,
    ProverError,
    ProverMemory,
    ProverTimeout,
    RangeTooWide,
)
from oracle.tensor import quantize
from oracle.types import TagLayout, TensorSpec

Json = dict[str, Any]

SCALES = range(3, 17)
#: Table columns that an activation may take.
MAX_SPREAD = 4
#: Circuits that are built and measured for one row.
FINALISTS = 3
#: Estimates of seconds are this good, those of gas better: a rival within it may be the best.
_TIME_ERROR = 1.2
_GAS_ERROR = 1.05
#: Estimates of verifier code are this good.
_CODE_ERROR = 1.12
#: The search asks for this share of the error bound, so that unseen samples meet the bound too.
_HEADROOM = 0.5
#: Samples that the search looks at; more cost time and change little.
_TUNING_SAMPLES = 32
#: A finer scale that leaves more than this share of the error does not help.
_GAIN = 0.95
#: Samples of those for a first look at a scale.
_FIRST_SAMPLES = 8


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
        return Graph(path, tag, self.graph.sandbox)


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
class Found:
    """What the search came to."""

    #: The best estimate first.
    finalists: tuple[Tuned, ...]
    #: Everything that was considered, the best estimate first.
    candidates: tuple[Candidate, ...]


def tune(
    subject: Subject,
    samples: Floats,
    goal: Goal,
    progress: Callable[[str], None] = lambda _: None,
) -> Found:
    """Choose settings.

    Args:
        subject: what to tune.
        samples: real inputs, float [n, inputs], n >= 2. Odd rows are held back: they measure the
            result, and steer the search by nothing but a veto.
        goal: what is wanted.
        progress: called with a few words before each step.

    Raises:
        ModelUnsupported: ezkl cannot express the model, or no transaction could verify it.
        CircuitInaccurate: no candidate meets the bound.
        RangeTooWide: candidates that meet it do not take every probe.
        CircuitTooLarge: every candidate needs more memory or time than there is.
        VerifierTooLarge: no candidate's verifier fits a contract.
    """
    cost.require_verifiable(subject.model.input_length)
    surveyed = survey(subject.graph)
    return _Search(subject, samples, goal, surveyed, progress).run()


def widen(
    subject: Subject, tuned: Tuned, goal: Goal, batch: Path, size: int
) -> tuple[Json, Candidate]:
    """Settings of a circuit that computes ``size`` rows with the arithmetic of ``tuned``.

    Scales and multiplier stay; base, legs and columns change, and bound numbers no tighter than
    for one row: what one row can prove, a batch can prove.

    Args:
        subject: what was tuned.
        tuned: the circuit for one row.
        goal: what is wanted.
        batch: file of the model for ``size`` rows, with the tag input of ``tuned``; absolute.
        size: rows of a batch.

    Raises:
        ModelUnsupported: ezkl cannot express the batch, or it needs too many rows.
        CircuitTooLarge, VerifierTooLarge: as `tune`.
        CircuitError: rows of a batch do not get the same outputs as one by one.
    """
    graph = Graph(batch, tuned.tag, subject.graph.sandbox)
    one = tuned.candidate.shape
    lookups = (tuned.run_args["lookup_range"][0], tuned.run_args["lookup_range"][1])
    width = lookups[1] - lookups[0] + 1
    surveyed = survey(graph, [one.multiplier])
    candidates = [
        _estimated(surveyed, shape, goal, -(-width // _room(shape)))
        for shape in shapes(surveyed, one.bound, tags=[one.tag])
    ]
    for candidate in sorted(_affordable(candidates, goal), key=_rank(goal)):
        scale = tuned.run_args["input_scale"]
        run_args = candidate.shape.run_args(scale, lookups)
        settings = trial.settings(graph, [run_args])[0]["settings"]
        if settings is not None and least_logrows(settings) <= candidate.shape.logrows:
            _require_same_outputs(subject, graph, tuned, settings, size)
            return settings, candidate
    raise refused(f"it gave no settings for {size} rows")


def logrows_of(settings: Json) -> int:
    """Base-two logarithm of the circuit's height."""
    return int(settings["run_args"]["logrows"])


# --- the search -----------------------------------------------------------------------------------


class _Search:
    """One run of `tune`."""

    def __init__(
        self,
        subject: Subject,
        samples: Floats,
        goal: Goal,
        surveyed: Survey,
        progress: Callable[[str], None],
    ) -> None:
        self._subject = subject
        self._goal = goal
        self._survey = surveyed
        self._progress = progress
        seen, held_back = _thin(np.arange(0, len(samples), 2)), _thin(np.arange(1, len(samples), 2))
        #: Index, among the samples, of every row that is compared; those seen come first.
        self._indices = np.concatenate([seen, held_back])
        self._seen = len(seen)
        self._rows = samples[self._indices]
        self._expected = _expected(subject, self._rows)
        self._promised = promised(samples)
        model = subject.model
        beyond = probes(
            subject.graph, model.input_name, self._promised, model.input_length, model.limits
        )
        self._tried = np.vstack([self._rows, beyond])
        #: By multiplier, what `_settle` found.
        self._settled: dict[int, _Settled | None] = {}
        #: By multiplier: a bound that was too tight.
        self._tight: dict[int, int] = {}
        #: One that was accurate on the rows seen, and not on those held back.
        self._vetoed: _Comparison | None = None
        #: One was accurate and could not take every probe.
        self._outreached = False
        #: The most accurate that was seen.
        self._closest: _Comparison | None = None

    def run(self) -> Found:
        found = self._among(SPARE_LOGROWS)
        if not found.finalists and self._subject.model.limits:
            # Its numbers are as small as they get, so its tables need room.
            found = self._among(TALL_LOGROWS)
        if not found.finalists:
            raise self._none_fits()
        return found

    def _among(self, spare: int) -> Found:
        """The best of the layouts up to so far above the least height; perhaps none."""
        every = [
            _estimated(self._survey, shape, self._goal)
            for shape in shapes(self._survey, spare=spare)
        ]
        known = {each.shape: each for each in every}
        rank = _rank(self._goal)
        queue = [(rank(each), n, each) for n, each in enumerate(_affordable(every, self._goal))]
        heapq.heapify(queue)
        finalists: list[Tuned] = []
        while queue and len(finalists) < FINALISTS:
            _, n, candidate = heapq.heappop(queue)
            if finalists and not self._rivals(candidate, finalists):
                continue
            examined = self._examine(candidate)
            if isinstance(examined, Tuned):
                finalists.append(examined)
                known[candidate.shape] = examined.candidate
                continue
            known[candidate.shape] = examined
            if examined.estimate != candidate.estimate:
                heapq.heappush(queue, (rank(examined), n, examined))
        return Found(tuple(finalists), tuple(sorted(known.values(), key=rank)))

    def _rivals(self, candidate: Candidate, finalists: Sequence[Tuned]) -> bool:
        """Whether it may turn out better than the best estimate, and than each finalist in some."""
        best = finalists[0].candidate.estimate
        margin = _GAS_ERROR if self._goal.objective is Objective.GAS else _TIME_ERROR
        rank = self._goal.objective.rank
        one, other = candidate.estimate, rank(best.gas, best.prove_seconds)
        near = rank(one.gas, one.prove_seconds)[0] <= other[0] * margin
        return near and all(
            one.gas < each.candidate.estimate.gas
            or one.prove_seconds < each.candidate.estimate.prove_seconds
            for each in finalists
        )

    def _examine(self, candidate: Candidate) -> Candidate | Tuned:
        """A finalist, or why it is none; with another estimate it has to queue again."""
        shape = candidate.shape
        if shape.multiplier not in self._settled:
            self._settled[shape.multiplier] = self._settle(shape.multiplier)
        settled = self._settled[shape.multiplier]
        if settled is None:
            return dataclasses.replace(candidate, outcome="not accurate at any scale")
        candidate = dataclasses.replace(candidate, scale=settled.scale)
        if shape.bound <= self._tight.get(shape.multiplier, 0):
            return dataclasses.replace(candidate, outcome="its numbers are larger")
        low, high = settled.lookups
        spread = -(-(high - low + 1) // _room(shape))
        if spread > MAX_SPREAD:
            return dataclasses.replace(candidate, outcome="its lookup tables are larger")
        wider = _estimated(self._survey, shape, self._goal, spread).estimate
        if wider != candidate.estimate:
            return dataclasses.replace(candidate, estimate=wider)
        return self._prove_tried(candidate, settled)

    def _prove_tried(self, candidate: Candidate, settled: _Settled) -> Candidate | Tuned:
        """Whether the circuit takes every row that is tried."""
        shape, lookups = candidate.shape, settled.lookups
        self._progress(f"trying 2**{shape.logrows} rows, {shape.columns} columns")
        run_args = shape.run_args(settled.scale, lookups)
        graph = self._subject.graph_for(shape.tag)
        settings = trial.settings(graph, [run_args])[0]["settings"]
        if settings is None or least_logrows(settings) > shape.logrows:
            return dataclasses.replace(candidate, outcome="its rows are more")
        found = trial.run(graph, settings, self._tried, all_or_none=True)
        compared = self._compare(found, len(self._tried))
        if compared is None:
            tight = self._tight.get(shape.multiplier, 0)
            self._tight[shape.multiplier] = max(shape.bound, tight)
            return dataclasses.replace(candidate, outcome="its numbers are larger")
        candidate = dataclasses.replace(candidate, outcome="finalist")
        return Tuned(
            candidate,
            settings,
            run_args,
            *_tensors(shape, settings, self._promised, compared.outputs.shape[1]),
            self._accuracy(compared),
            self._tried,
        )

    def _settle(self, multiplier: int) -> _Settled | None:
        """The least scale that is accurate, and what its lookups are asked; None if there is none.

        Accuracy depends on scale and multiplier alone, and grows with the scale. The held-back rows
        have no say in it but a veto.
        """
        least, most, found = SCALES.start, SCALES.stop - 1, None
        coarser = math.inf
        while least <= most:
            scale = (least + most) // 2
            self._progress(f"measuring scale {scale}, multiplier {multiplier}")
            compared = self._at(multiplier, scale, self._rows[:_FIRST_SAMPLES])
            if compared is None:
                # Numbers grow with the scale, and these are too large for any circuit.
                most = scale - 1
            elif self._accurate(compared):
                found, most = scale, scale - 1
            else:
                error = compared.seen(_FIRST_SAMPLES)
                if error > coarser * _GAIN:
                    # It is not rounding that makes the outputs differ.
                    break
                least, coarser = scale + 1, error
        # The first look had fewer samples.
        while found is not None and found in SCALES:
            compared = self._at(multiplier, found, self._tried)
            if compared is None:
                self._outreached = True
                return None
            if self._accurate(compared):
                if compared.held_back(self._seen) <= self._goal.max_error:
                    return _Settled(found, compared.lookups)
                self._vetoed = compared
            found += 1
        return None

    def _at(self, multiplier: int, scale: int, rows: Floats) -> _Comparison | None:
        try:
            found = trial.sketch(self._subject.graph, roomy(multiplier).run_args(scale), rows)
        except (ProverMemory, ProverTimeout):
            raise
        except ProverError:
            # ezkl refuses some scales of some graphs, and a panic is a refusal too.
            return None
        return self._compare(found, len(rows))

    def _compare(self, found: Outcome, tried: int) -> _Comparison | None:
        """Outputs for the first rows of `_tried`; None if one does not fit the circuit."""
        if not found.complete:
            return None
        count = min(tried, len(self._rows))
        outputs = found.floats()[:count]
        errors = self._subject.reveal.error(self._expected[:count], outputs)
        compared = _Comparison(outputs, errors, found.lookups)
        if self._closest is None or compared.seen(self._seen) < self._closest.seen(self._seen):
            self._closest = compared
        return compared

    def _accurate(self, compared: _Comparison) -> bool:
        # A NaN is not accurate either.
        return compared.seen(self._seen) <= self._goal.max_error * _HEADROOM

    def _accuracy(self, compared: _Comparison) -> Accuracy:
        """What the held-back rows say."""
        errors = compared.errors[self._seen :]
        agreement = _label_agreement(
            self._subject,
            self._expected[self._seen :],
            compared.outputs[self._seen :],
            errors,
        )
        return Accuracy(float(errors.max()), agreement)

    def _worst(self, compared: _Comparison, start: int = 0) -> str:
        row = start + int(np.argmax(compared.errors[start:]))
        return (
            f"sample {self._indices[row]} is off by {compared.errors[row]:.3g}: "
            f"expected {_shown(self._expected[row])}, proved {_shown(compared.outputs[row])}"
        )

    def _none_fits(self) -> CircuitError:
        if self._closest is None:
            return CircuitInaccurate(
                "no circuit takes the samples: their numbers are too large",
                remedy="Scale inputs and activations to a smaller range",
            )
        if self._outreached or any(self._settled.values()):
            return RangeTooWide(
                remedy="Scale inputs and activations to a smaller range, or give samples of a "
                "smaller range",
            )
        if self._vetoed is not None:
            return CircuitInaccurate(
                f"{self._worst(self._vetoed, self._seen)}, allowed {self._goal.max_error:g}, "
                "on a sample that was held back",
                remedy="Give more samples or allow a larger error",
            )
        return CircuitInaccurate(
            f"no circuit met the error bound {self._goal.max_error:g}; in the best, "
            f"{self._worst(self._closest)}",
            remedy="Allow a larger error, or scale inputs and activations to a smaller range",
        )


@dataclass(frozen=True, slots=True)
class _Settled:
    """What is known of a multiplier."""

    scale: int
    #: Least and greatest value that is looked up.
    lookups: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Comparison:
    """A circuit's outputs beside the float model's."""

    #: Real outputs [n, outputs].
    outputs: Floats
    #: Errors [n].
    errors: Floats
    lookups: tuple[int, int]

    def seen(self, count: int) -> float:
        """The greatest error of the first ``count`` rows."""
        return float(self.errors[:count].max())

    def held_back(self, seen: int) -> float:
        """The greatest error of the rows after those ``seen``."""
        return float(self.errors[seen:].max())


# --- candidates -----------------------------------------------------------------------------------


def _estimated(surveyed: Survey, shape: Shape, goal: Goal, lookup_columns: int = 1) -> Candidate:
    """The candidate of a shape whose every lookup table takes so many columns."""
    structure = surveyed.structure(shape)
    lookups = len(surveyed.settings[shape.kind]["required_lookups"])
    structure = dataclasses.replace(
        structure, spread=structure.spread + lookups * (lookup_columns - 1)
    )
    return Candidate(shape, cost.estimate(structure, shape.logrows, goal.speed))


def _rank(goal: Goal) -> Callable[[Candidate], tuple[float, ...]]:
    """Sorts candidates, the best estimate first; of equals the one of smaller numbers."""

    def rank(candidate: Candidate) -> tuple[float, ...]:
        estimate, shape = candidate.estimate, candidate.shape
        gas, seconds = estimate.gas, estimate.prove_seconds
        return (*goal.objective.rank(gas, seconds), shape.multiplier, -shape.bound)

    return rank


def _affordable(candidates: Sequence[Candidate], goal: Goal) -> list[Candidate]:
    """Those within the limits.

    Raises:
        CircuitTooLarge, VerifierTooLarge: there are none.
    """
    if not candidates:
        raise CircuitTooLarge(
            f"the circuit needs more than 2**{MAX_LOGROWS} rows",
            remedy="Use a smaller model, or a smaller batch",
        )
    small = [c for c in candidates if c.estimate.memory_bytes <= goal.memory_bytes]
    if not small:
        least = min(c.estimate.memory_bytes for c in candidates)
        raise CircuitTooLarge(
            f"a proof would need {least >> 20:,} MiB of memory, this machine gives "
            f"{goal.memory_bytes >> 20:,} MiB",
            remedy="Use a smaller model, a smaller batch, or a machine with more memory",
        )
    quick = [c for c in small if c.estimate.prove_seconds <= goal.seconds]
    if not quick:
        least_seconds = min(c.estimate.prove_seconds for c in small)
        raise CircuitTooLarge(
            f"a proof would take {least_seconds:,.0f} s here, the limit is {goal.seconds:,.0f} s",
            remedy="Use a smaller model, a smaller batch, or a faster machine",
        )
    deployable = [c for c in quick if c.estimate.verifier_bytes <= MAX_CODE_BYTES * _CODE_ERROR]
    if not deployable:
        raise too_large(min(c.estimate.verifier_bytes for c in quick), "would have")
    # Only where nothing surely fits is it worth a build to find out.
    sure = [c for c in deployable if c.estimate.verifier_bytes * _CODE_ERROR <= MAX_CODE_BYTES]
    return sure or deployable


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
    return f"[{listed}{', ...' if len(values) > 8 else ''}]"


def _room(shape: Shape) -> int:
    """Rows of a table's column."""
    return (1 << shape.logrows) - BLINDING_ROWS


# --- batches --------------------------------------------------------------------------------------


def _require_same_outputs(
    subject: Subject, graph: Graph, tuned: Tuned, settings: Json, size: int
) -> None:
    # Whole batches: the first rows again at the end.
    count = -(-len(tuned.tried) // size) * size
    rows = np.resize(tuned.tried, (count, tuned.input.length))
    expected = trial.run(subject.graph_for(tuned.tag), tuned.settings, rows).integers
    outputs = trial.run(graph, settings, rows.reshape(count // size, -1)).integers
    same_scales = all(
        settings[name] == tuned.settings[name]
        for name in ("model_input_scales", "model_output_scales")
    )
    if not same_scales or _flat(outputs) != _flat(expected):
        raise CircuitError(
            f"{size} rows at once do not get the outputs that each gets alone",
            remedy="Export a model whose rows do not influence each other",
        )


def _flat(rows: list[list[int] | None]) -> list[int | None]:
    """The numbers of all rows; None stands for a row that did not fit."""
    return [value for row in rows for value in (row if row is not None else [None])]


# --- samples and ranges ---------------------------------------------------------------------------


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
            f"the float model's output for {rows[~finite][0].tolist()} is not a finite number",
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


def _thin(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """At most `_TUNING_SAMPLES` of them, evenly spread."""
    return indices[:: -(-len(indices) // _TUNING_SAMPLES)]
