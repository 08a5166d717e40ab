"""Search for the cheapest circuit that is accurate enough.

ezkl's defaults are far from good: its decomposition base alone forces 2**15 rows. What matters,
measured: proving time and key size follow 2**logrows x columns, verification gas follows columns.
So: one column, the fewest rows that hold the circuit, then within those rows

- the largest base (a table of ``base`` rows fits wherever the circuit does), and
- as many legs as fit, because base**legs bounds every number in the circuit and room is free;

then the least scale that meets the error bound. A multiplier above 1 postpones the rescaling
after each product: fewer rows for larger numbers.

Batch sizes share one arithmetic: what `tune` chose for one row, `widen` lays out for several.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oracle.circuits.onnx import Model
from oracle.circuits.reveal import Reveal
from oracle.errors import (
    CircuitError,
    CircuitInaccurate,
    ModelUnsupported,
    ProverError,
    ProverMemory,
)
from oracle.prover.child import Sandbox
from oracle.tensor import dequantize, quantize
from oracle.types import TagLayout, TensorSpec

Floats = npt.NDArray[np.float64]
Json = dict[str, Any]

SCALES = (4, 6, 8, 10, 12, 14)
MULTIPLIERS = (1, 2, 4)
LEGS = (2, 3, 4, 5, 6, 7, 8)
#: Outputs fit a signed 64-bit integer.
MAX_BITS = 63
MAX_LOGROWS = 20
#: How far above the least size the search goes for room.
_SPARE_LOGROWS = 3
#: Lookup tables while their real range is being measured.
_WIDE_LOOKUPS = (-(1 << 17), 1 << 17)
#: Rows that the proof system keeps for blinding, with a reserve.
_BLINDING_ROWS = 16
#: The promised input range exceeds the samples' range by this share of it, on both sides.
_RANGE_MARGIN = 0.25
#: Probes reach this many times as far from the centre as the promised range.
_PROBE_REACH = 2.0
_RANDOM_PROBES = 16
#: The search asks for this share of the error bound, so that unseen samples meet the bound too.
_HEADROOM = 0.5
#: Samples that the search looks at; more cost time and change little.
_TUNING_SAMPLES = 32


@dataclass(frozen=True, slots=True)
class Subject:
    """The model that is tuned, and where ezkl may look at it."""

    model: Model
    #: File of the model with its tag input; absolute.
    tagged: Path
    layout: TagLayout
    sandbox: Sandbox
    #: What is published, and the tensor that holds the scores it is made from.
    reveal: Reveal
    scores: str


@dataclass(frozen=True, slots=True)
class Tuned:
    """The circuit that was chosen."""

    #: ezkl's settings, normalised: the same for the same choice.
    settings: Json
    #: What ezkl was asked for to get them.
    run_args: Json
    input: TensorSpec
    output: TensorSpec
    #: Greatest difference from the float model over samples that the search did not see; for a
    #: reveal policy see `Reveal.error`.
    max_abs_error: float
    #: The inputs that were tried, float [n, inputs]: samples, and probes beyond their range.
    tried: Floats


@dataclass(frozen=True, slots=True)
class _Shape:
    """A size class: settings that cost the same to prove whatever the scale."""

    logrows: int
    multiplier: int
    legs: int

    @property
    def base(self) -> int:
        """Half the rows, so that the table and the blinding rows fit one column."""
        return 1 << (self.logrows - 1)

    @property
    def bits(self) -> int:
        """Every number in the circuit is below 2**bits in absolute value."""
        return (self.logrows - 1) * self.legs


def tune(subject: Subject, samples: Floats, max_error: float) -> Tuned:
    """Choose settings.

    Args:
        subject: what to tune.
        samples: real inputs, float [n, inputs], n >= 2. Odd rows only measure the result.
        max_error: bound on the absolute difference from the float model, per score.

    Raises:
        ModelUnsupported: ezkl cannot express the model.
        CircuitInaccurate: no candidate meets the bound and takes every probe.
    """
    candidates = _candidates(_shapes(subject))
    seen, held_back = _thin(samples[0::2]), _thin(samples[1::2])
    rows = np.vstack([seen, held_back])
    expected = _expected(subject, rows)
    if not np.isfinite(expected).all():
        row = rows[~np.isfinite(expected).all(axis=1)][0]
        raise ModelUnsupported(
            f"the float model's output for {row.tolist()} is not a finite number",
            remedy="Correct the model's weights, or leave such inputs out of the samples",
        )
    promised = _promised_range(samples)
    tried = np.vstack([rows, _probes(promised, subject.model.input_length)])
    best_error = math.inf
    # Accuracy depends on scale and multiplier alone; room for large numbers shrinks with scale.
    inaccurate: set[tuple[int, int]] = set()
    too_small: set[_Shape] = set()
    for shape, scale in candidates:
        if shape in too_small or (shape.multiplier, scale) in inaccurate:
            continue
        trial = _try(subject, shape, scale, tried)
        if trial is None:
            too_small.add(shape)
            continue
        settings, run_args, outputs = trial
        errors = subject.reveal.error(expected, outputs[: len(rows)])
        error = float(errors[: len(seen)].max())
        best_error = min(best_error, error)
        # Written so that a NaN is refused too.
        if not error <= max_error * _HEADROOM:
            inaccurate.add((shape.multiplier, scale))
            continue
        # Held-back rows never steer the choice: where they disagree, the samples are too few.
        measured = float(errors[len(seen) :].max())
        if not measured <= max_error:
            raise CircuitInaccurate(
                f"error {measured:.3g} on held-back samples, {error:.3g} on the others, "
                f"allowed {max_error:g}",
                remedy="Give more samples or allow a larger error",
            )
        tensors = _tensors(shape, settings, promised, outputs.shape[1])
        return Tuned(settings, run_args, *tensors, max_abs_error=measured, tried=tried)
    raise CircuitInaccurate(
        f"no circuit met the error bound {max_error:g}"
        + (f"; the best had {best_error:.3g}" if math.isfinite(best_error) else ""),
        remedy="Allow a larger error, or scale inputs and activations to a smaller range",
    )


def widen(subject: Subject, tuned: Tuned, batch: Path, size: int) -> Json:
    """Settings of a circuit that computes ``size`` rows with the arithmetic of ``tuned``.

    Scales and multiplier stay; base and legs change only as far as the layout needs, and bound
    numbers no tighter than for one row: what one row can prove, a batch can prove.

    Args:
        subject: what was tuned.
        tuned: the circuit for one row.
        batch: file of the model for ``size`` rows, with its tag input; absolute.
        size: rows of a batch.

    Raises:
        ModelUnsupported: ezkl cannot express the batch, or it needs too many rows.
        CircuitError: rows of a batch do not get the same outputs as one by one.
    """
    wide = dataclasses.replace(subject, tagged=batch)
    settings = _settings(wide, tuned.run_args | _layout(wide, tuned))
    if settings is None:
        raise _refused(f"it gave no settings for {size} rows")
    # Whole batches: the first rows again at the end.
    count = -(-len(tuned.tried) // size) * size
    rows = np.resize(tuned.tried, (count, tuned.input.length))
    expected, _ = _run(subject, tuned.settings, rows)
    outputs, _ = _run(wide, settings, rows.reshape(count // size, -1))
    same_scales = all(
        settings[name] == tuned.settings[name]
        for name in ("model_input_scales", "model_output_scales")
    )
    if not same_scales or _flat(outputs) != _flat(expected):
        raise CircuitError(
            f"{size} rows at once do not get the outputs that each gets alone",
            remedy="Export a model whose rows do not influence each other",
        )
    return settings


def logrows_of(settings: Json) -> int:
    """Base-two logarithm of the circuit's height."""
    return int(settings["run_args"]["logrows"])


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


# --- candidates -----------------------------------------------------------------------------------


def _shapes(subject: Subject) -> list[_Shape]:
    """Size classes that hold the circuit; of those that cost the same, the one with most legs."""
    grid = list(itertools.product(MULTIPLIERS, LEGS))
    # Rows depend on neither scale nor base, so any will do here.
    run_args = [_run_args(_Shape(11, multiplier, legs), SCALES[2]) for multiplier, legs in grid]
    try:
        answers = _all_settings(subject, run_args)
    except ProverMemory as error:
        raise ModelUnsupported(
            f"the model is too large for this machine: {error.message}",
            remedy="Use a smaller model, or a machine with more memory",
        ) from None
    except ProverError as error:
        raise _refused(error.message) from None
    found: dict[tuple[int, int], _Shape] = {}
    for (multiplier, legs), answer in zip(grid, answers, strict=True):
        if answer["settings"] is None:
            continue
        least = _least_logrows(answer["settings"])
        for logrows in range(least, min(least + _SPARE_LOGROWS, MAX_LOGROWS) + 1):
            shape = _Shape(logrows, multiplier, legs)
            if subject.layout.bits <= shape.bits <= MAX_BITS:
                # The grid lists legs in rising order, so the last one to fit stays.
                found[logrows, multiplier] = shape
    if not found:
        reasons = [answer["reason"] for answer in answers if answer["settings"] is None]
        raise _refused(reasons[0] if reasons else f"it needs more than 2**{MAX_LOGROWS} rows")
    return list(found.values())


def _refused(reason: str) -> ModelUnsupported:
    remedy = "Use core operators such as Gemm, MatMul, Add, Relu, or a smaller model"
    # tract's words for an operator it does not know.
    if match := re.search(r'node #\d+ "([^"]*)" Unimplemented\((\w+)\)', reason):
        return ModelUnsupported(
            f"operator {match[2]} (node '{match[1]}') cannot be proved", remedy=remedy
        )
    return ModelUnsupported(f"the circuit compiler refused the model: {reason}", remedy=remedy)


def _candidates(shapes: Sequence[_Shape]) -> list[tuple[_Shape, int]]:
    """All choices, cheapest first."""
    return sorted(
        itertools.product(shapes, SCALES), key=lambda c: (c[0].logrows, c[1], c[0].multiplier)
    )


def _least_logrows(settings: Json) -> int:
    """The least size that holds the circuit's rows and its instances."""
    instances = sum(math.prod(shape) for shape in settings["model_instance_shapes"])
    rows = max(settings["num_rows"], settings["total_const_size"], instances)
    return int(rows + _BLINDING_ROWS - 1).bit_length()


def _run_args(shape: _Shape, scale: int) -> Json:
    return {
        "input_visibility": "public",
        "output_visibility": "public",
        # Fixed binds the weights in the verifying key; private would let a prover choose them.
        "param_visibility": "fixed",
        "input_scale": scale,
        "param_scale": scale,
        "scale_rebase_multiplier": shape.multiplier,
        "decomp_base": shape.base,
        "decomp_legs": shape.legs,
        "logrows": shape.logrows,
        "num_inner_cols": 1,
        # Its random challenges cost columns, and columns cost gas.
        "disable_freivalds": True,
        "lookup_range": _WIDE_LOOKUPS,
    }


def _layout(wide: Subject, tuned: Tuned) -> Json:
    """Rows, base and legs of a batch: fewest rows, then the tightest bound that is no tighter."""
    asked = tuned.run_args
    bits = (asked["decomp_base"].bit_length() - 1) * asked["decomp_legs"]
    answers = _all_settings(wide, [asked | {"decomp_legs": legs} for legs in LEGS])
    found = []
    for legs, answer in zip(LEGS, answers, strict=True):
        if answer["settings"] is None:
            continue
        base_bits = -(-bits // legs)
        # The lookup tables of one row fit its height, and so any greater one.
        least = max(_least_logrows(answer["settings"]), base_bits + 1, asked["logrows"])
        if least <= MAX_LOGROWS:
            found.append((least, base_bits * legs, legs, base_bits))
    if not found:
        reasons = [answer["reason"] for answer in answers if answer["settings"] is None]
        raise _refused(reasons[0] if reasons else f"a batch needs more than 2**{MAX_LOGROWS} rows")
    height, _, legs, base_bits = min(found)
    return {"logrows": height, "decomp_legs": legs, "decomp_base": 1 << base_bits}


# --- one candidate --------------------------------------------------------------------------------


def _try(
    subject: Subject, shape: _Shape, scale: int, rows: Floats
) -> tuple[Json, Json, Floats] | None:
    """Settings, the arguments that led there and real outputs [n, outputs] for ``rows``.

    None if a row does not fit.
    """
    run_args = _run_args(shape, scale)
    settings = _settings(subject, run_args)
    if settings is None or (trial := _trial(subject, settings, rows)) is None:
        return None
    outputs, lookups = trial
    if settings["required_lookups"]:
        # The probes reached further than any promised input, so what they looked up is enough.
        if lookups[1] - lookups[0] + _BLINDING_ROWS > 1 << shape.logrows:
            return None
        run_args |= {"lookup_range": lookups}
        settings = _settings(subject, run_args)
        if settings is None or _trial(subject, settings, rows) is None:
            return None
    return settings, run_args, outputs


def _settings(subject: Subject, run_args: Json) -> Json | None:
    found = _all_settings(subject, [run_args])[0]["settings"]
    return None if found is None else _normalised(found)


def _all_settings(subject: Subject, run_args: list[Json]) -> list[Json]:
    params = {"model": str(subject.tagged), "run_args": run_args}
    return list(subject.sandbox.run("settings", params)["candidates"])


def _normalised(settings: Json) -> Json:
    """Sort what ezkl lists in random order: the order of checks and lookups decides the key."""
    return settings | {
        "required_range_checks": sorted(settings["required_range_checks"]),
        "required_lookups": sorted(
            settings["required_lookups"], key=lambda op: json.dumps(op, sort_keys=True)
        ),
        "timestamp": 0,
    }


def _trial(subject: Subject, settings: Json, rows: Floats) -> tuple[Floats, list[int]] | None:
    """Real outputs for ``rows`` and the range of looked-up values; None if a row does not fit."""
    integers, lookups = _run(subject, settings, rows)
    if None in integers:
        return None
    scale = settings["model_output_scales"][0]
    outputs = [[dequantize(value, scale) for value in row] for row in integers if row is not None]
    return np.asarray(outputs, dtype=np.float64), lookups


def _run(
    subject: Subject, settings: Json, rows: Floats
) -> tuple[list[list[int] | None], list[int]]:
    """Integer outputs for ``rows``, None for one that does not fit; the range of lookups."""
    scale = settings["model_input_scales"][0]
    params = {
        "model": str(subject.tagged),
        "settings": settings,
        "rows": [[quantize(value, scale) for value in row] for row in rows.tolist()],
        "tag": [(1 << subject.layout.bits) - 1] * subject.layout.limbs,
    }
    found = subject.sandbox.run("trial", params)
    return found["outputs"], found["lookups"]


def _flat(rows: list[list[int] | None]) -> list[int | None]:
    """The numbers of all rows; None stands for a row that did not fit."""
    return [value for row in rows for value in (row if row is not None else [None])]


# --- samples and ranges ---------------------------------------------------------------------------


def _expected(subject: Subject, rows: Floats) -> Floats:
    """The float model's scores [n, scores], before any reveal policy."""
    name = subject.model.input_name
    try:
        return reference(subject.tagged, name, subject.scores, rows, subject.sandbox)
    except ProverError as error:
        raise ModelUnsupported(
            f"onnxruntime cannot run the model: {error.message}",
            remedy="Export it again with an opset from 9 to 18",
        ) from None


def _tensors(
    shape: _Shape, settings: Json, promised: tuple[float, float], outputs: int
) -> tuple[TensorSpec, TensorSpec]:
    inputs = math.prod(settings["model_instance_shapes"][0])
    scale = settings["model_input_scales"][0]
    minimum, maximum = (quantize(value, scale) for value in promised)
    # The circuit range-checks its outputs against base**legs: what it proves, this range holds.
    bound = (1 << shape.bits) - 1
    output_scale = settings["model_output_scales"][0]
    return (
        TensorSpec(inputs, _width(minimum, maximum), scale, minimum, maximum),
        TensorSpec(outputs, _width(-bound, bound), output_scale, -bound, bound),
    )


def _width(minimum: int, maximum: int) -> int:
    """Bytes of the two's complement that holds both."""
    return max((~minimum).bit_length() if minimum < 0 else 0, maximum.bit_length()) // 8 + 1


def _promised_range(samples: Floats) -> tuple[float, float]:
    low, high = float(samples.min()), float(samples.max())
    margin = _RANGE_MARGIN * (high - low)
    return low - margin, high + margin


def _probes(promised: tuple[float, float], length: int) -> Floats:
    """Inputs beyond the promised range, float [n, length]: uniform, alternating, random signs."""
    low, high = promised
    centre, reach = (low + high) / 2, _PROBE_REACH * (high - low) / 2
    alternating = np.where(np.arange(length) % 2 == 0, 1.0, -1.0)
    # Seeded: the same model and samples must give the same circuit.
    random = np.random.default_rng(0).choice([-1.0, 1.0], size=(_RANDOM_PROBES, length))
    signs = np.vstack([np.ones(length), -np.ones(length), alternating, -alternating, random])
    return np.asarray(centre + reach * signs, dtype=np.float64)


def _thin(rows: Floats) -> Floats:
    """At most `_TUNING_SAMPLES` rows, evenly spread."""
    return rows[:: -(-len(rows) // _TUNING_SAMPLES)]
